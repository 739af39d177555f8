"""The boundary to the teacher: types, errors, client, gate. No other module knows HTTP."""
