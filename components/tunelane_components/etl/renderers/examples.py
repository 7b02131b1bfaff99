"""A record as a question and its answer, which every prompted format shares."""

from typing import NamedTuple

from tunelane_components.etl.record import Record
from tunelane_components.etl.renderers.completion import completion_of
from tunelane_components.etl.renderers.prompts import PromptTemplate
from tunelane_serving.taxonomy import Taxonomy


class Example(NamedTuple):
    """What an LLM is asked about one record, and what it shall answer."""

    user: str
    answer: str


class ExampleMaker:
    """Makes the examples of one dataset.

    Attributes:
        system: what the LLM is told before every example; empty where the template says nothing.
    """

    def __init__(self, taxonomy: Taxonomy, prompt: PromptTemplate, *, multi_label: bool) -> None:
        """Write the system part; raises InputError where the template cannot."""
        self.system = prompt.system(taxonomy, multi_label=multi_label)
        self._user = prompt.user(taxonomy, multi_label=multi_label)
        self._multi_label = multi_label

    def make(self, record: Record) -> Example:
        """Make the example of one record; raises InputError where the template cannot."""
        return Example(self._user(record), completion_of(record.labels, multi_label=self._multi_label))
