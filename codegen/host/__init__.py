"""Host runtimes: emitted code executed on the CPU."""
