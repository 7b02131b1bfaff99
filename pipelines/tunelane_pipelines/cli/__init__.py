"""The command line: `tunelane` VERB or NOUN VERB. One module a verb or noun; each imports what it needs when called."""
