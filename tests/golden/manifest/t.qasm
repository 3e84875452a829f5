OPENQASM 2.0;
qreg q[{{ matrix.n }}];
