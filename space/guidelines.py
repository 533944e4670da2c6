"""What annotators read: the guidelines and the meaning of the scores. Changing a word changes what is measured."""

from __future__ import annotations

GUIDELINES = """\
**You rate pictures that a model made for a prompt.** You see one at a time and each only once. You do not see who made
it or how others rated it; please do not talk about single pictures before you are done.

1. Read the prompt, then look at the picture as a whole, then at every thing the prompt names.
2. Answer the small questions. *Yes* when the picture agrees with the prompt, *partly* when it comes close, *no* when it
   does not or the thing is not there. Leave a question out when you cannot tell.
3. Score each aspect from **0 to 10**: 0–3 wrong or bad, 4–7 partly, 8–10 right and good. A thing that is missing gets 0
   on everything about it. Be strict: judge what is there, not what was probably meant.
4. Give your reason in a sentence: name what is wrong and where. "Two apples instead of three" helps, "not good"
   does not.
5. Overall is your own verdict, not the mean of the others.

**With a reference picture (DreamBench++, arXiv 2406.16855)** there are two scales from **0 to 4**, judged apart from
each other. *Concept preservation*: is it the same thing as in the reference, by shape, colour, texture and, for faces,
features? The prompt does not matter here. *Prompt following*: is everything there that the prompt asks for, as asked:
setting, action, style, attributes? Likeness does not matter here.

Your name and your words are stored with the scores and may be published with the benchmark; write nothing private.
"""

ANCHORS = {
    "appearance": "0 broken or ugly · 5 some flaws · 10 clean, pleasing, undistorted",
    "intrinsic": "0 nothing is as asked · 5 half of it · 10 every thing, number and attribute",
    "relationship": "0 nothing is placed as asked · 5 partly · 10 every place, action and part",
    "overall": "0 useless for this prompt · 5 half-way · 10 exactly what was asked for, well made",
    "concept_preservation": "0 another thing · 1 poor · 2 alike in part · 3 very alike · 4 the same",
    "prompt_following": "0 not at all · 1 poor · 2 partly · 3 mostly · 4 completely",
}
