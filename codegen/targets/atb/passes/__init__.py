"""Passes over ``atb.*`` graphs, between lowering and printing."""
