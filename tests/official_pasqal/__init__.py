"""The official package pasqal-cloud 0.24.0, unmodified, judges the stand-in; `make official-pasqal` installs it."""
