"""What turns runs into verdicts: the engine, the store, the statistics, the claims."""
