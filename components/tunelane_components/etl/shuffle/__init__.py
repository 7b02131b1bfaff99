"""The rows of a dataset brought together by their texts, however many there are: map, spill by digest, reduce."""
