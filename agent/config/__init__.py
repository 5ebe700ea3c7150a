"""What a grid point and a sweep are: read strictly, validated once, never changed."""
