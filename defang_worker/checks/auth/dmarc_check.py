# SPDX-License-Identifier: GPL-3.0-or-later
"""`Dmarc`: does SPF or DKIM speak for the author's domain, and what does that want done if not (RFC 9989)?

Runs SPF and DKIM itself. All names of a tree walk are asked for at once: that is one round trip, not one a label.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from defang_worker.checks.auth.author import author_domain
from defang_worker.checks.auth.dkim_check import Dkim
from defang_worker.checks.auth.dkim_result import DkimWord
from defang_worker.checks.auth.dmarc_record import DmarcPolicy, Record, Walk, names_of_walk
from defang_worker.checks.auth.dmarc_result import DmarcResult, DmarcWord, alignment, disposition, may_align
from defang_worker.checks.auth.inner_check import inner_job
from defang_worker.checks.auth.spf import Spf
from defang_worker.checks.dns.answer import Question, Status
from defang_worker.checks.dns.check import DnsCheck
from defang_worker.checks.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from defang_worker.api.message import Message
    from defang_worker.checks.auth.dkim_result import DkimResult
    from defang_worker.checks.auth.spf import SpfResult
    from defang_worker.checks.budget import Deadline
    from defang_worker.checks.check import Job
    from defang_worker.checks.dns.answer import Answer
    from defang_worker.checks.dns.resolver import Resolver

__all__ = ["Dmarc"]

# SPF may take 20 seconds (RFC 7208, section 4.6.4), and there are the keys and policies to ask for.
_TIMEOUT_S: Final = 27.0
# Of the time that is left.
_DKIM_SHARE: Final = 0.5
_SPF_SHARE: Final = 0.75
_OUTCOMES: Final = {
    DmarcWord.PASS: Outcome.NOT_FOUND,
    DmarcWord.FAIL: Outcome.FOUND,
    DmarcWord.NONE: Outcome.NOT_APPLICABLE,
    DmarcWord.TEMPERROR: Outcome.UNKNOWN,
    # Readers would see one author, and another would be checked.
    DmarcWord.PERMERROR: Outcome.FOUND,
}


class Dmarc(DnsCheck["Message", DmarcResult]):
    """Is the author who it says, and what does the domain want done if not?

    `spf` and `dkim` are the checks that it runs, with their results in its own; without, it makes them.
    """

    result_type = DmarcResult

    def __init__(self, *, name: str = "dmarc", spf: Spf | None = None, dkim: Dkim | None = None, **more: Any) -> None:
        super().__init__(name, **{"timeout_s": _TIMEOUT_S, **more})
        self.spf = spf or Spf(resolver=self.resolver)
        self.dkim = dkim or Dkim(resolver=self.resolver)

    def prepare(self, subject: Message) -> Job[DmarcResult] | DmarcResult:
        """Takes the author's domain, and what SPF and DKIM need."""
        spf, dkim = inner_job(self.spf, subject), inner_job(self.dkim, subject)
        try:
            author = author_domain(subject.headers_as_they_came())
        except ValueError as fault:
            reason = str(fault)
            return lambda deadline: self._told(DmarcWord.PERMERROR, reason, spf=spf(deadline), dkim=dkim(deadline))
        return lambda deadline: self._asked(author, spf, dkim, deadline)

    def _asked(
        self,
        author: str,
        spf: Callable[[Deadline], SpfResult],
        dkim: Callable[[Deadline], DkimResult],
        deadline: Deadline,
    ) -> DmarcResult:
        """The author's policy first. Whose keys and SPF are asked for, the sender chooses; with nameservers that never
        answer these must not take the time of the rest, or nothing could be told of any forgery."""
        walks, exists = _walks([author], self.resolver, deadline, Question(author))
        signatures = dkim(deadline.part(_DKIM_SHARE))
        facts = {"domain": author, "dkim": signatures, "spf": spf(deadline.part(_SPF_SHARE))}
        return self._evaluated(walks[author], facts, deadline, exists=exists)

    def _evaluated(
        self, walk: Walk | None, facts: dict[str, Any], deadline: Deadline, *, exists: bool | None
    ) -> DmarcResult:
        author: str = facts["domain"]
        spf: SpfResult = facts["spf"]
        dkim: DkimResult = facts["dkim"]
        if walk is None or walk.policy is None:
            word = DmarcWord.TEMPERROR if walk is None else DmarcWord.NONE
            return self._told(word, "no policy" if walk else "the policy could not be had", **facts)
        policy_domain, record = walk.policy
        is_own = policy_domain == author
        if exists is None and not is_own and record.absent_policy is not None:
            return self._told(DmarcWord.TEMPERROR, "whether the domain exists could not be told", **facts)
        policy = record.policy_for(is_own=is_own, exists=exists is not False)
        signers = {one.domain for one in dkim.signatures if one.result in (DkimWord.PASS, DkimWord.TEMPERROR)}
        others = {one for one in (*signers, spf.domain) if one and one != author and may_align(one, walk)}
        known, _ = _walks(others, self.resolver, deadline)
        found = alignment(walk, record, spf, dkim, lambda domain: _organization(known.get(domain)))
        return self._told(
            found.word,
            f"policy {policy} of {policy_domain}",
            policy=policy,
            disposition=disposition(policy, record) if found.word is DmarcWord.FAIL else DmarcPolicy.NONE,
            policy_domain=policy_domain,
            organization=walk.organization,
            is_spf_aligned=found.spf,
            is_dkim_aligned=found.dkim,
            **facts,
        )

    def _told(self, word: DmarcWord, why: str, **facts: Any) -> DmarcResult:
        detail = f"{word} {facts.get('domain', '')}".rstrip() + f": {why}"
        return self.result(_OUTCOMES[word], detail, word=word, **facts)  # type: ignore[no-any-return]


def _walks(
    domains: Collection[str], resolver: Resolver, deadline: Deadline, existence: Question | None = None
) -> tuple[dict[str, Walk | None], bool | None]:
    """The walk from each domain, None if it cannot be told; and whether a name exists."""
    questions = [Question(f"_dmarc.{name}", "TXT") for domain in domains for name in names_of_walk(domain)]
    if existence is not None:
        questions.append(existence)
    answers = dict(resolver.answers(questions, deadline)) if questions else {}
    walks = {domain: _walk(domain, answers) for domain in domains}
    if existence is None or answers[existence].is_unknown:
        return walks, None
    return walks, answers[existence].status is not Status.NO_NAME


def _walk(domain: str, answers: Mapping[Question, Answer]) -> Walk | None:
    records: list[tuple[str, Record | None]] = []
    for name in names_of_walk(domain):
        answer = answers[Question(f"_dmarc.{name}", "TXT")]
        if answer.is_unknown:
            return None
        records.append((name, Record.of(answer.texts) if answer.is_found else None))
        if (record := records[-1][1]) is not None and record.psd in ("y", "n"):
            break
    return Walk.of(domain, records)


def _organization(walk: Walk | None) -> str | None:
    return None if walk is None else walk.organization
