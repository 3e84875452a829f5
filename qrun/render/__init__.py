"""Renderers: fold events, steps and records into text or JSON. They decide nothing and print nothing by themselves."""
