"""The judges, one module per kind, behind one interface (`base.Judge`); `loading` finds a judge by its name."""
