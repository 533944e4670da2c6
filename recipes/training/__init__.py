"""Fine-tuning by TRL's SFTTrainer: collator, quantisation, checks before it, estimates, jobs on the Hub."""
