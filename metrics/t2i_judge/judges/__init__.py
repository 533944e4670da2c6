"""The judges, one module a kind, behind one interface (`base.Judge`); `loading` finds a judge by its name."""
