// One qubit turned by an angle: the share of 1 is sin(theta / 2) squared.
OPENQASM 3.0;
include "stdgates.inc";
input float theta;
qubit[1] q;
bit[1] c;
rx(theta) q[0];
c[0] = measure q[0];
