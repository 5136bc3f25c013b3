"""What the pages call: figures, numbers and tables, the ledger, the sayings."""
