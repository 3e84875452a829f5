"""OpenQASM 2 and 3 read into circuits, the same language for every simulator.

The modules are read in the order tokens, reader, expressions, names, values, operands, draft, then the statements
(declarations, definitions, calls, assignments, flow), and program, where `parse` is.
"""
