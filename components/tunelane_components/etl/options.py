"""What a dataset is asked for: where its fields come from, what is refused, and how it is split."""

import msgspec

from tunelane_components.etl.sources.detection import checked_delimiter
from tunelane_components.etl.split import check_fractions
from tunelane_serving.errors import InputError


class Fields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the parts of a record stand in a row; an empty name means that there is no such part.

    Attributes:
        text: a column, a path (`note.body`) or a template of them (`{title}: {note}`).
        label: a column or a path; `domains[].name` gives one label for each element of a list.
        id: a column or a path.
        source: a column or a path; becomes `meta["source"]`, a slice in evaluation.
        label_separator: what stands between several labels in one text.
        image: a column or a path of an image's URI.
        metadata: columns or paths separated by commas, each `path` or `name=path`; becomes `meta[name]`.
        split: a column or a path that says train, valid or test; where it is empty, the hash decides.
    """

    text: str = "text"
    label: str = "label"
    id: str = ""
    source: str = ""
    label_separator: str = ""
    image: str = ""
    metadata: str = ""
    split: str = ""


class DatasetOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a dataset was asked for; the parameters of `build_dataset` say what each means."""

    fields: Fields
    taxonomy_given: bool
    rows: int
    minimum_rows: int
    valid_fraction: float
    test_fraction: float
    multi_label: bool = False
    source_format: str = ""
    delimiter: str = ""
    encoding: str = "utf-8"
    mask_personal_data: bool = False
    max_characters: int = 100_000
    tokenizer_digest: str = ""
    max_length_tokens: int = 128
    max_tokens: int = 0
    max_rejected_fraction: float = 0.1
    near_duplicate_threshold: float = 0.8
    max_per_label: int = 0
    min_per_label: int = 0
    formats: str = ""
    prompt_digest: str = ""
    test_data_given: bool = False

    @property
    def format_names(self) -> tuple[str, ...]:
        """The further formats, in the order they were named."""
        return tuple(dict.fromkeys(name.strip() for name in self.formats.split(",") if name.strip()))


def check_options(options: DatasetOptions) -> None:
    """Stop at the first option that cannot be.

    Raises:
        InputError: names the option, its value and what it may be.
    """
    check_fractions(options.valid_fraction, options.test_fraction)
    if options.rows < 0:
        raise InputError(f"rows={options.rows}: pass 0 for all rows, or how many to keep.")
    for name in ("max_characters", "max_length_tokens", "max_tokens", "max_per_label", "min_per_label", "minimum_rows"):
        value = getattr(options, name)
        if value < 0:
            raise InputError(f"{name}={value}: pass 0 for no such bound, or a number above it.")
    if not 0 <= options.max_rejected_fraction <= 1:
        raise InputError(f"max_rejected_fraction={options.max_rejected_fraction}: pass a share between 0 and 1.")
    if not 0 <= options.near_duplicate_threshold <= 1:
        given = options.near_duplicate_threshold
        raise InputError(f"near_duplicate_threshold={given}: pass a similarity up to 1, or 0 for no search.")
    if options.max_tokens and not options.tokenizer_digest:
        raise InputError(f"max_tokens={options.max_tokens}: pass a tokenizer, too, to count tokens with.")
    if options.fields.label_separator and not options.multi_label:
        raise InputError("label_separator: rows with several labels need --set multi_label=true.")
    if options.delimiter:
        checked_delimiter(options.delimiter)
