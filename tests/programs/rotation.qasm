OPENQASM 3.0;
include "stdgates.inc";
input float theta;
qubit q;
bit c;
ry(theta) q;
c = measure q;
