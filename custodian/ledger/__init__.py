"""A party's books as somebody reads and checks them: balances, the journal as text, and what does not hold."""
