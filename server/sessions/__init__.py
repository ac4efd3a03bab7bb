"""Sessions: conversations whose state is kept between requests, forked, rewound, and moved between servers."""
