"""Texts on which a merged head is measured: of several kinds and languages, written for this."""

TEXTS = (
    "The council met on Tuesday evening to decide whether the old bridge should be repaired or "
    "replaced. An engineer said that the iron was sound but that the road above it was not. Two "
    "members wanted to wait for the report of the province; the others voted to begin in May. "
    "The work is to cost about 2.4 million and to last until the autumn of next year, if the "
    "river stays as low as it was this winter.",
    "Question: A baker makes 12 trays of 18 rolls each and sells 170 of them before noon. How many "
    "are left?\nAnswer: He makes 12 * 18 = 216 rolls. 216 - 170 = 46, so 46 rolls are left.\n\n"
    "Question: Three friends share a bill of $57.60 equally. What does each of them pay?\nAnswer: "
    "57.60 / 3 = 19.20, so each of them pays $19.20.\n\nQuestion: What is 15 % of 240?\nAnswer:",
    "def moving_average(values, width):\n    total = sum(values[:width])\n    found = [total / "
    "width]\n    for i in range(width, len(values)):\n        total += values[i] - values[i - "
    "width]\n        found.append(total / width)\n    return found\n\n\nif __name__ == "
    "'__main__':\n    print(moving_average([3, 1, 4, 1, 5, 9, 2, 6], 3))\n",
    "I went in with low hopes and was wrong. The first half drags, and the songs are forgettable, "
    "but then the two sisters meet at the station and for an hour nothing else matters. What a "
    "performance! My only complaint is the ending, which explains far too much. Would I watch it "
    "again? Gladly, though perhaps not the first half. Four stars out of five.",
    "Once upon a time there was a small boat that was afraid of the sea. Every morning it looked "
    'at the waves and said: "Not today." The gulls laughed, and the fishermen shook their heads. '
    "One night there was a storm, and a light far out called for help. Nobody else was awake. The "
    "little boat thought of the warm harbour, and of the light, and then it let go of the rope.",
    "Der Zug nach Norden fährt heute von Gleis sieben. Wegen einer Störung müssen Reisende mit "
    "zwanzig Minuten Verspätung rechnen. Le train suivant part à midi et s'arrête dans toutes les "
    "gares. Los billetes se pueden comprar en la estación o por teléfono, y los niños viajan "
    "gratis. Il ristorante è aperto fino alle dieci di sera, ma la domenica resta chiuso.",
    '{"name": "Ada", "age": 36, "tags": ["analyst", "poet"], "address": {"city": "London", '
    '"zip": null}}\n<ul>\n  <li><a href="/index.html">Home</a></li>\n  <li>Prices from 9,99 to '
    "120,00</li>\n</ul>\n| date | open | close |\n| --- | --- | --- |\n| 2021-03-04 | 17.25 | "
    "17.90 |\n| 2021-03-05 | 17.88 | 16.02 |\nSELECT id, title FROM books WHERE year > 1990;",
    "Premise: A man in a red jacket is fixing a bicycle beside the road.\nHypothesis: Someone is "
    "outdoors.\nDoes the premise entail the hypothesis? Yes.\n\nPremise: The company announced "
    "that its profit fell by a third in the last quarter.\nHypothesis: The company earned more "
    "than in the quarter before.\nDoes the premise entail the hypothesis? No.\n\nPremise: She has "
    "never been to Lisbon.\nHypothesis: She speaks Portuguese.\n",
)
