"""From a finished build to the Hub: record, stage, verification, gate, push."""
