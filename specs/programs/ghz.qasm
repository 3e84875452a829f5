// A chain of {{ matrix.qubits }} qubits, all 0 or all 1.
OPENQASM 2.0;
include "qelib1.inc";
qreg q[{{ matrix.qubits }}];
creg c[{{ matrix.qubits }}];
h q[0];
{% for i in range(matrix.qubits - 1) -%}
cx q[{{ i }}], q[{{ i + 1 }}];
{% endfor -%}
measure q -> c;
