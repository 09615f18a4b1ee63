"""What is known beyond prices: news, posts, company filings, ratings, activity on the ground."""
