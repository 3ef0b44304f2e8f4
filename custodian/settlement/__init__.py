"""What became of one redemption's money, told step by step."""
