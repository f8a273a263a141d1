"""The tools this pipeline calls: pure argv builders, output readers, and two small HTTP clients."""
