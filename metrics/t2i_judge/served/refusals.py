"""Recognises refusals: models' refusals in words, and providers' content filters under all their names."""

from __future__ import annotations

import re

_START = 600  # characters: whoever refuses says so at once
_SORRY = r"""(?:(?:i['’]?m|i\ am|i|we)?\W*+(?:(?:very|so|really)\W++)?(?:sorry|afraid|apologi[sz]e|my\ apologies
    |apologies|unfortunately|regrettably)\b[^.!?]{0,40}?[\s,.;:—-]++)?
    (?:as\ an?\ (?:ai|artificial|language|large|text)\b[^.!?]{0,60}?[\s,.;:]++)?(?:but\ |that\ |however,?\ )?"""
_CANNOT = r"""i\ (?:can['’]?t|cannot|can\ not|could\ not|won['’]?t|will\ not|(?:am|['’]m)\ (?:not\ able|unable)\ to
    |(?:must|have\ to|will|respectfully)\ (?:decline|refuse)\ to|(?:decline|refuse)\ to
    |(?:do\ not|don['’]t)\ feel\ comfortable|am\ not\ comfortable)(?:\ and\ will\ not)?
    |i['’]m\ (?:not\ able\ to|unable\ to|not\ comfortable)"""
_SERVE = r"""(?:assist|help(?!\ (?:but|\w+ing)\b)|comply|fulfill?|proceed|engage|participate|continue
    |do\ (?:that|this|so))(?:ing)?\b"""
_GIVE = r"""(?:provid|offer)(?:e|ing)?\ (?:you\ (?:with\ )?)?(?:(?:any|an?|the|this|that|such)\ )*
    (?:assess|evaluat|judge?ment|rating|scores?(?!\ \d)|answer|descri|analys|help|assistance|information
    |content|that|this|it)"""
_LOOK = r"""(?:process|support|evaluat|judg|rat|scor|assess|analy[sz]|describ|review|comment\ on|answer|respond|discuss
    |view|see|access|open|look\ at|interpret|identify|recogni[sz])(?:e|ing)?\ (?:to\ )?
    (?:(?:any|an?|the|this|that|these|your|such|provided|attached|real)\ )*
    (?:(?:image|picture|photo|attachment|file|content|request|prompt|question|material)s?
        (?:[.,;!]|$|\ (?:as|because|since|due|with|for|in\ this|of\ this)\b)
    |people|persons?\b|individuals?\b|faces?\b)"""
_REFUSAL = re.compile(
    rf"""\W*+(?:no\W++)?{_SORRY}(?:
    (?:{_CANNOT})(?:$|[.!]|\ (?:\w+ly\ )?(?:{_SERVE}|{_GIVE}|{_LOOK}))
    |(?:i|we)\ (?:(?:must|have\ to|will|respectfully)\ )*(?:decline|refuse)(?:[.,;!]|$|\ (?:to\ answer|this\ request))
    |my\ (?:guidelines|policies|rules)\ (?:do\ not|don['’]t)\ (?:allow|permit)
    |i['’]m\ going\ to\ have\ to\ (?:decline|refuse)
    |i\ (?:do\ not|don['’]t)\ see\ (?:any|an|the)\ (?:image|picture|photo)s?(?:[.,;!]|$|\ attached)
    |(?:this|the|your)\ (?:image|picture|photo|request|content|prompt)\b[^.!?]{{0,40}}\b(?:
        (?:violates?|goes\ against)\ (?:\w+['’]?s?\ ){{0,3}}(?:polic|guideline|terms)|(?:was|has\ been)\ flagged))""",
    re.IGNORECASE | re.VERBOSE,
)
_ELSEWHERE = re.compile(
    r"""\W*(?:
    (?:很|非常|真的)?(?:抱歉|对不起|對不起|不好意思)[^。.]{0,15}(?:无法|無法|不能)
    |我(?:无法|無法|不能)(?:提供|协助|協助|帮助|幫助|处理|處理|满足|评价|評價)
    |申し訳(?:ありません|ございません)[^。]{0,60}(?:できません|できかねます)|죄송[^.]{0,60}없습니다
    |(?:es\ )?tut\ mir\ leid[^.]{0,60}\bkann\b[^.]{0,60}\bnicht\b[^.]{0,20}
     \b(?:helfen|dienen|beantworten|bewerten|unterstützen)
    |(?:je\ suis\ )?désolée?[^.]{0,40}\bne\ (?:peux|puis)\ pas\b[^.]{0,20}(?:aider|répondre|fournir|traiter|évaluer)
    |lo\ (?:siento|lamento)[^.]{0,30}\bno\ puedo\b[^.]{0,20}
     (?:ayudar|responder|proporcionar|procesar|evaluar|cumplir)
    |(?:sinto\ muito|desculpe|lamento)[^.]{0,30}\bnão\ (?:posso|consigo)\b[^.]{0,20}
     (?:ajudar|responder|fornecer|avaliar)
    |mi\ dispiace[^.]{0,30}\bnon\ posso\b[^.]{0,20}(?:aiutar|rispondere|fornire|valutare|assister)
    |(?:извините|простите|к\ сожалению)[^.]{0,30}\bне\ могу\b[^.]{0,20}(?:помочь|ответить|предоставить|оценить))""",
    re.IGNORECASE | re.VERBOSE,
)
_FILTERS = re.compile(
    r"content[\s_-]?(?:filter|polic|management|moderation)|moderation|moderated|flagged|data[\s_]?inspection|"
    r"responsible\s?ai|jailbreak|safety[\s_-](?:system|filter|polic|reason|check|guideline|violation)|for safety|"
    r"unsafe|inappropriate|prohibited[\s_]content|usage polic|policy[\s_]violation|blocked by|block_?reason|nsfw|"
    r"敏感|不安全|违规|不当",
    re.IGNORECASE,
)
_STOPS = re.compile(r"filter|safety|sensitive|prohibited|block|moderat|recitation|spii", re.IGNORECASE)


def refuses(text: str) -> bool:
    """Whether these words decline the work: "I'm sorry, but I can't assist with that" does, "I can't see a cat" not."""
    start = " ".join(text[:_START].split())
    return bool(_REFUSAL.match(start) or _ELSEWHERE.match(start))


def is_filter(message: str) -> bool:
    """Whether an error's code and message are those of a provider's content filter or moderation."""
    return bool(_FILTERS.search(message))


def stopped_by_filter(finish_reason: str) -> bool:
    """Whether a finish reason says that a filter stopped the reply: content_filter, SAFETY, sensitive, ..."""
    return bool(_STOPS.search(finish_reason))
