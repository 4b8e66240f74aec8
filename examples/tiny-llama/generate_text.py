#!/usr/bin/env python3
"""Generate the little English stories that the tiny Llama is trained on.

    python generate_text.py OUT_DIR [--train-bytes N]

writes train.txt, validation.txt and calibration.txt to OUT_DIR. Every word
list and sentence pattern is in this file; nothing is read from elsewhere, and
the output depends only on the seeds below, so the files can be rebuilt byte by
byte. The three files use different seeds, and a story that already occurs in
an earlier file is dropped from a later one.

How a story is made: a plot (a function below) picks characters, things and
places once, so that they stay the same through the story, and returns
sentence templates in order. In a template

    [a|b|c]    is one of the alternatives, chosen afresh (may be nested, may be empty),
    <food>     is a fresh word from the list of that name,
    {thing}    is a value fixed for this story,
    {A} {A.he} {A.him} {A.his}   are a character's name and pronouns.

A fresh choice makes the text hard to predict; a fixed value can only be
predicted by a model that looks back in the story.
"""
import argparse
import random
import re
from pathlib import Path

SEPARATOR = "<|endoftext|>"

WORDS = {
    "girl": "Ada Mira Lily Rosa Nell Tilda Anna Ivy Clara Greta Hanna June Olga Paula Suri Vera Wilma Zoe Elsa Mina".split(),
    "boy": "Tom Ben Oskar Finn Leo Max Hugo Jonas Karl Nico Otto Pavel Sam Tim Ravi Emil Jack Felix Luis Noah".split(),
    "petname": "Pip Muffin Dot Biscuit Hazel Bramble Button Nutmeg Patch Clover Pepper Sorrel Twig Pebble Fern Acorn "
               "Whisker Plum Sunny Moss Tumble Pickle".split(),
    "animal": "rabbit fox hedgehog squirrel mouse badger otter owl frog duckling lamb kitten puppy goat pony beaver "
              "mole sparrow turtle hen goose crow piglet donkey snail".split(),
    "pet": "cat dog kitten puppy hen goat pony rabbit goose lamb".split(),
    "wild": "squirrels birds butterflies frogs ducks beetles bees rabbits crows swallows snails fish deer mice".split(),
    "size": "little small tiny big young quiet clever brave shy cheerful curious gentle lazy busy".split(),
    "colour": "red blue green yellow white black brown grey orange purple golden silver pink".split(),
    "feel": "happy glad proud calm cheerful warm pleased".split(),
    "sadfeel": "sad worried upset lonely cross sorry afraid".split(),
    "food": "bread soup cheese cake porridge pancakes honey jam apples pears berries nuts carrots cherries plums "
            "potatoes biscuits milk pie noodles".split(),
    "fruit": "apples pears berries nuts carrots cherries plums potatoes biscuits pancakes".split(),
    "dish": "apple pie,honey cake,pot of soup,loaf of bread,plum cake,berry pie,carrot cake,nut cake,cheese pie,"
            "bowl of porridge,pumpkin pie".split(","),
    "ingredient": "flour eggs milk butter sugar salt honey nuts apples cream cinnamon berries".split(),
    "toy": "ball,kite,doll,drum,wooden horse,toy boat,spinning top,teddy bear,little cart,hoop,paper plane,puppet".split(","),
    "small": "key,ring,button,hat,scarf,basket,spoon,whistle,shoe,cup,lantern,book,bell,coin,ribbon,mitten,pencil,"
             "map,comb,brush".split(","),
    "place": "garden,forest,meadow,park,market,river,lake,hill,barn,school,mill,orchard,beach,field,bridge".split(","),
    "hiding": "under the bed,behind the door,in the tall grass,under a bush,in the old boot,beside the well,on the "
              "kitchen shelf,under a pile of leaves,inside the big pot,behind the stove,in the hay,on top of the "
              "cupboard,between two stones,in the pocket of a coat,under the bench,next to the pond".split(","),
    "search": "under the table,in the garden,behind the curtain,in every drawer,along the path,in the kitchen,on the "
              "stairs,under the chairs,in the cellar,by the gate,in the basket,behind the shed".split(","),
    "elder": "mother father grandmother grandfather aunt uncle".split(),
    "job": "baker,farmer,miller,teacher,fisherman,shepherd,carpenter,tailor,gardener,postman,blacksmith,doctor".split(","),
    "tree": "oak,apple tree,willow,pine,chestnut tree,birch,cherry tree,pear tree".split(","),
    "plant": "sunflower,pumpkin,bean,tomato,rose,carrot,tulip,strawberry,pea,cabbage".split(","),
    "skill": "swim,ride a bicycle,whistle,skate,climb trees,play the flute,paint,knit,bake bread,read,dance,fly a kite,"
             "row a boat,sing,tie knots,juggle".split(","),
    "noise": "scratching,humming,knocking,rustling,squeaking,tapping,whistling,rattling".split(","),
    "weather": "sunny rainy windy cloudy snowy foggy cold warm hot stormy mild".split(),
    "season": "spring summer autumn winter".split(),
    "part": "morning afternoon evening day".split(),
    "number": "two three four five six seven".split(),
    "softly": "softly,quietly,kindly,slowly,with a smile,gently,at last,in a small voice,after a while,proudly".split(","),
    "game": "hide and seek,tag,catch,a guessing game,a jumping game,a game with stones,cards".split(","),
    "village": "village,town,valley,farm,little house,cottage,island,street".split(","),
}


class Character:
    def __init__(self, name, female, kind):
        self.name, self.kind = name, kind
        self.forms = dict(zip(("he", "him", "his", "himself"),
                              ("she", "her", "her", "herself") if female else ("he", "him", "his", "himself")))


class Story:
    def __init__(self, rng):
        self.rng, self.fixed, self.used = rng, {}, set()

    def pick(self, kind):
        return self.rng.choice(WORDS[kind])

    def fix(self, key, kind=None):
        """Fix a value for this story; two keys of one kind get different values."""
        while True:
            value = self.pick(kind or key)
            if value not in self.used:
                break
        self.used.add(value)
        self.fixed[key] = value

    def person(self, key):
        female = self.rng.random() < 0.5
        self.fix(key, "girl" if female else "boy")
        self.fixed[key] = Character(self.fixed[key], female, "girl" if female else "boy")

    def beast(self, key):
        self.fix(key, "petname")
        name = self.fixed[key]
        self.fix(key, "animal")
        self.fixed[key] = Character(name, self.rng.random() < 0.5, self.fixed[key])

    def hero(self, key):
        self.person(key) if self.rng.random() < 0.5 else self.beast(key)

    def expand(self, text, sentence=True):
        # Innermost choices first, so that nesting needs no parser.
        while True:
            m = re.search(r"\[([^\[\]]*)\]", text)
            if not m:
                break
            text = text[:m.start()] + self.rng.choice(m.group(1).split("|")) + text[m.end():]
        text = re.sub(r"<(\w+)>", lambda m: self.pick(m.group(1)), text)

        def slot(m):
            key, _, form = m.group(1).partition(".")
            value = self.fixed[key]
            if not isinstance(value, Character):
                return value
            return value.name if not form else value.kind if form == "kind" else value.forms[form]
        text = re.sub(r"\{([\w.]+)\}", slot, text)
        # An empty alternative leaves a space behind.
        text = re.sub(r" +", " ", text).strip()
        text = re.sub(r" ([.,!?])", r"\1", text)
        text = re.sub(r"\b([Aa]) (?=[aeiouAEIOU])", r"\1n ", text)
        if not sentence:
            return text
        # Capitals: at the start, after a full stop, and after ! or ? outside a quotation.
        text = re.sub(r'^("?)([a-z])', lambda m: m.group(1) + m.group(2).upper(), text)
        return re.sub(r'([.!?] "?|\." )([a-z])', lambda m: m.group(1) + m.group(2).upper(), text)


# Sentences that fit almost anywhere; they use only the main character.
ASIDES = [
    "The sun [shone|was low|came out] and the [sky|river|grass] was <colour>.",
    "[A few|Many|Some|<number>] <wild> [played|were busy|made a noise|hurried past] near the <place>.",
    "{A} [saw|counted|watched|greeted] <number> <wild> on the way.",
    "It [smelled|tasted] of [fresh|warm|sweet] <food> everywhere.",
    "The wind [blew|sang] [softly|loudly|all day] in the <tree>.",
    "{A} [stopped|sat down] to eat some <food>.",
    "[Far away|Near the <place>|Behind the <place>] a <colour> [bird|cloud|boat|flag] could be seen.",
    "{A} was [hungry|tired|thirsty|cold], but {A.he} [did not mind|said nothing|kept going].",
    "{A} [hummed|sang] a [short|merry|sleepy|funny] song [about <wild>|about a <colour> <small>|for no reason].",
    "[Somebody|An old <job>|A tall <job>] waved from the <place>, and {A} waved back.",
    "The [road|path|ground] was [wet|dusty|muddy|covered with leaves|full of stones].",
    "{A} [put|kept] a [smooth|shiny|round] <colour> stone in {A.his} pocket.",
    "A bell rang <number> times in the <village>.",
    "[Nobody|Hardly anybody] was at the <place> that <part>.",
]

ENDINGS = [
    "From that day on, {A} and {B} were [good|the best of] friends.",
    "{A} [slept well|dreamed of <wild>|smiled in {A.his} sleep] that night.",
    "And {A} never forgot [that <part>|what {B} had said|how kind {B} had been].",
    "Then they [all|both] went home and ate <food> [with <food>|by the fire|until they were full].",
    "{A} felt [very|quite|so] <feel>, and [so did {B}|{B} laughed|{B} was <feel> too].",
    "After that, {A} always [shared {A.his} <food>|helped {B}|said thank you|asked before taking something].",
    '"[What a day|That was fun|We did it|All is well]!" said [{A}|{B}]. [Everyone laughed.|They were <feel>.|]',
    "{A} learned that [a friend is worth more than a <small>|it is good to ask for help|patience is a strong thing|even a small {A.kind} can do great things|telling the truth is easier in the end].",
    "[When the stars came out|Before it was dark|By supper], everything was [quiet|well|as it should be] again.",
    "The next <part> they [played <game>|walked to the <place>|met] again, and [it was <weather>|nobody was <sadfeel>].",
]


def opening(s, key="A"):
    c = s.fixed[key]
    beast = c.kind not in ("girl", "boy")
    s.fix("village")
    home = "[in a|near a|at the edge of a] [quiet|small|busy|green|far away] {village}"
    if beast:
        home = "[in a|near a|at the edge of a] [quiet {village}|dark forest|<colour> meadow|busy {village}|still lake]"
    k = "{%s" % key
    return s.rng.choice([
        f"Once upon a time, [there was|there lived] a <size> {k}.kind}} named {k}}}. {k}.he}} lived {home}.",
        f"{k}}} was a <size> {k}.kind}} who lived {home}.",
        f"{k}}} the {k}.kind}} [lived|had a home] {home}.",
        f"One <weather> <part>, a <size> {k}.kind}} [called|named] {k}}} [woke up early|was bored|went outside|looked out of the window].",
        f"There was once a <size> {k}.kind}} [called|named] {k}}}. Everybody [liked|knew] {k}.him}}.",
        f"It was a <weather> <part> in <season>, and {k}}} the <size> {k}.kind}} was [at home|at the <place>|on {k}.his}} way to the <place>].",
    ])


def meet(s, key="B"):
    k = "{%s" % key
    c = s.fixed[key]
    child = c.kind in ("girl", "boy")
    what = f"{k}}}, a <size> {k}.kind}}" if child else f"{k}}} the {k}.kind}}"
    comma = "," if child else ""
    return s.rng.choice([
        f"[Soon|On the way|At the gate|Near the <place>|Just then] {{A}} met {what}.",
        f"[Then|After a while] {what}{comma} came [along|by|down the path].",
        f"{{A}} had a friend, {what}.",
        f"{what}{comma} [was sitting|stood|was waiting] [by the <place>|under the <tree>|on a fence] [and saw everything|, eating <food>|].",
    ])


def lost(s):
    s.hero("A"); s.hero("B"); s.fix("thing", s.rng.choice(["toy", "small"])); s.fix("colour"); s.fix("hiding"); s.fix("elder")
    return [
        opening(s),
        "{A} had a {colour} {thing} [that {A.he} loved very much|from {A.his} {elder}|and took it everywhere]. [It was {A.his} favourite thing.|{A.he} had made it {A.himself}.|]",
        "One <part> the {thing} was gone. [{A} looked and looked.|{A} could not believe it.|{A} felt <sadfeel>.]",
        "{A} looked <search> [and <search>|], but [the {thing} was not there|there was no {thing}|found only a <colour> <small>].",
        meet(s),
        '"[Why are you so <sadfeel>|What is wrong|What are you looking for]?" asked {B}. "[I lost my {colour} {thing}|My {thing} is gone|I cannot find my {thing}]," said {A} <softly>.',
        '"[Let us look together|I will help you|Do not cry, we will find it|Four eyes see more than two]," said {B}. [So they searched <search>.|They looked <search> first.|Together they looked <search> and <search>.]',
        "[Suddenly|At last|In the end|When it was almost dark] {B} [shouted|called|laughed]. The {colour} {thing} was {hiding}!",
        "{A} [hugged|thanked] {B} [again and again|with a big smile|and danced]. [\"You are a true friend,\" said {A}.|\"Thank you, {B}!\" said {A}.|]",
    ]


def stuck(s):
    s.hero("A"); s.beast("B"); s.fix("place")
    s.fixed["where"] = s.rng.choice(["in a deep hole", "on a high branch of the <tree>", "in a fishing net", "between two rocks",
                                     "in the mud by the {place}", "under a fallen <tree>", "in a bucket", "on the roof of the barn"])
    s.fixed["where"] = s.expand(s.fixed["where"], sentence=False)
    s.fixed["tool"] = s.rng.choice(["a long rope", "a ladder", "a strong stick", "a wooden board", "a basket on a string", "a spade"])
    return [
        opening(s),
        "[One day|That <part>|In <season>] {A} [walked|went|ran] to the {place} [to pick berries|to look for <food>|because it was <weather>|with a basket of <fruit>].",
        "[There|Suddenly|Halfway there] {A} heard a [small|weak|sad|loud] voice. \"[Help|Please help me|Is anybody there]!\"",
        "It was {B} the {B.kind}. {B.he} was stuck {where}. [{B} was very <sadfeel>.|{B.he} had been there all <part>.|]",
        '"[How did you get there|What happened]?" asked {A}. "[I wanted to see the <wild>|I was running too fast|I was looking for <food>|I did not look where I was going]," said {B}.',
        "[First|] {A} [pulled and pulled|tried to reach {B.him}|called for help], but [{B} did not move|it was too far|nobody came].",
        "Then {A} had an idea. {A.he} [ran home and brought|found|asked the <job> for] {tool}.",
        "[With {tool}|Slowly and carefully|Bit by bit], {A} [helped {B} out|got {B} free|brought {B} down safely|set {B} free].",
        '"[Thank you, {A}|You saved me]!" said {B}. "[I will never forget it|One day I will help you too|Come and eat <food> with me]."',
    ]


def storm(s):
    s.person("A"); s.hero("B"); s.fix("elder"); s.fix("place")
    s.fixed["trouble"], s.fixed["repair"] = s.rng.choice([
        ("the roof had a hole", "[put new straw on the roof|nailed boards over the hole|held the ladder]"),
        ("the fence was broken", "[cut new posts|tied the fence with rope|carried wood]"),
        ("the bridge was gone", "[laid a long tree across the river|carried stones to the river|built a new bridge]"),
        ("the road was full of snow", "[took shovels and cleared the road|dug a path|pushed the snow aside]"),
        ("the boat had floated away", "[walked along the shore|rowed out to get the boat|pulled the boat back]"),
        ("the hens had run away", "[followed the feathers|called the hens with corn|caught the hens one by one]")])
    return [
        opening(s),
        "One <part> dark clouds came over the {place}. [The wind grew strong.|It thundered.|The air was cold.|It began to rain.]",
        "\"[Come inside|Close the windows|We must hurry|Bring in the washing],\" said {A.his} {elder}. {A} [ran|obeyed|helped] [quickly|at once|as fast as {A.he} could].",
        "All night the storm [roared|shook the house|howled in the chimney]. {A} [held {A.his} {elder}'s hand|hid under the blanket|could not sleep|told {A.himself} a story].",
        "In the morning [the storm was over|the sky was clear|it was quiet], but {trouble}. \"[Oh no|What now|Look at that]!\" [cried|said] {A}.",
        meet(s).replace("{A} met", "{A} saw"),
        '"[We can mend it|Let us work together|I know what to do|Many hands make it easy]," said {B}.',
        "{A}, {B} and the <job> {repair}. [It took <number> hours.|It was hard work.|They sang while they worked.|Their hands were <colour> with cold.]",
        "[In the end|At noon|By evening] [everything was in order|the work was done|{A.his} {elder} was proud of them]. [{A}'s {elder} gave them <food>.|]",
    ]


def share(s):
    s.person("A"); s.person("B"); s.fix("toy"); s.fix("colour"); s.fix("elder")
    return [
        opening(s),
        "{A} was given a {colour} {toy} [for {A.his} birthday|by {A.his} {elder}]. {A.he} [played with it all <part>|would not let it go|showed it to everyone].",
        "{B} came to [visit|play|the <place>]. \"[May I play with it|Can I try the {toy}|Please let me hold it]?\" asked {B}.",
        '"[No, it is mine|No, you will break it|Not now]!" said {A}. {B} [went away|sat down alone|began to cry|said nothing] and felt <sadfeel>.',
        "{A} [played alone|looked at the {toy}], but [it was not fun any more|it was lonely|{A.he} kept thinking of {B}].",
        "{A}'s {elder} saw it and said: \"[A {toy} is more fun with a friend|How would you feel without friends, {A}|Two can play better than one].\"",
        "{A} thought [for a while|about it|hard]. Then {A.he} [ran to|went to look for|called] {B}. \"[I am sorry|Forgive me|I was wrong]. [Let us share the {toy}|You can have it first|Come and play with me].\"",
        "{B} [smiled|was surprised|jumped with joy]. They [took turns|played <game>|played with the {colour} {toy}] until [the sun went down|supper|it was dark].",
        "[Later|The next day] {B} brought {B.his} own <toy>, and [they shared that too|now they had two things to play with].",
    ]


def bake(s):
    s.hero("A"); s.hero("B"); s.fix("dish"); s.fix("i1", "ingredient"); s.fix("i2", "ingredient"); s.fix("i3", "ingredient")
    s.fixed["wrong"], s.fixed["after"] = s.rng.choice([
        ("used salt instead of sugar", "it tasted terrible"), ("forgot the {i2}", "it was as hard as a stone"),
        ("fell asleep by the oven", "it was black and smoking"), ("dropped the bowl", "everything was on the floor"),
        ("put in too much {i1}", "it would not stop growing")])
    return [
        opening(s),
        "[Tomorrow was {B}'s birthday|{B} was ill in bed|{B} was coming to visit|It was a holiday], so {A} wanted to make a {dish} [for {B.him}|].",
        "{A} needed {i1}, {i2} and {i3}. [{A.he} had {i1} at home.|There was some {i1} in the kitchen.|{A.he} looked in the cupboard.]",
        "The <job> gave {A} {i2}[, and| and] the <job> [had|brought|sold {A.him}] {i3}. [\"Good luck!\" they said.|{A} thanked them.|]",
        "{A} [mixed|stirred] [it all|the {i1} with the {i2}|everything] in a [big|<colour>] bowl [and sang|with a wooden spoon|]. But {A.he} " + s.fixed["wrong"] + ", and " + s.fixed["after"] + ".",
        '"[Oh dear|What have I done|Now it is spoiled]," said {A}. {A.he} [sat down|sighed|nearly cried|felt <sadfeel>].',
        "[Then {A} tried again.|But {A} did not give up.|{A} took a deep breath.] This time {A.he} [was careful|read the recipe twice|measured the {i3}|watched the clock].",
        "[Soon|After an hour|At last] the {dish} [was ready|smelled wonderful|stood on the table]. [It was warm and <colour>.|It was not pretty, but it was good.|]",
        "{B} [took a bite|ate <number> pieces|tasted it] and [smiled|laughed|licked {B.his} lips]. \"[Is there a better {dish} in the world|May I have more|Did you make this for me]?\" [said|asked] {B}.",
    ]


def learn(s):
    s.hero("A"); s.hero("B"); s.fix("skill"); s.fix("number")
    return [
        opening(s),
        "{A} wanted to [learn to|] {skill}[ more than anything|, but {A.he} did not know how|]. [All the others could do it.|{A.his} <elder> could do it well.|]",
        "The first time, {A} [fell down|made a mistake|was too slow|got everything wrong]. [Some <wild> laughed.|It hurt a little.|Everyone saw it.]",
        '"[I will never learn it|It is too hard|I am too small]," said {A}, and {A.he} felt <sadfeel>.',
        meet(s),
        '"[I could not {skill} at first|Nobody can do it on the first day|You must try {number} times, and then once more|I will show you]," said {B} <softly>.',
        "So {A} [practised|tried] every <part> [at the <place>|under the <tree>|behind the barn|with {B}]. [{B} held {A.his} hand.|{B} helped {A.him}.|{B} told {A.him} what to do.]",
        "[On the first day|At first] it went [badly|slowly]. [On the next day|Then] it went [a little better|better]. After {number} days {A} could {skill}!",
        '"[Look at me|I can do it|See, {B}]!" [cried|shouted] {A}. {B} [clapped|was proud|cheered|nodded].',
    ]


def trip(s):
    s.hero("A"); s.beast("B"); s.fix("elder"); s.fix("gift", "small"); s.fix("food"); s.fix("colour"); s.fix("p1", "place"); s.fix("p2", "place")
    s.fixed["gives"] = s.rng.choice(["a {colour} {gift}", "some {food}"])
    s.fixed["gives"] = s.expand(s.fixed["gives"], sentence=False)
    return [
        opening(s),
        "{A} [wanted|had] to [visit|bring <food> to] {A.his} {elder}, who lived [behind the {p1}|on the other side of the {p2}|far away]. {A.he} took {gives} as a present.",
        "[First|] {A} [walked|went|ran] past the {p1}. [It was <weather>.|There were <wild> everywhere.|{A.he} counted the <wild>.]",
        "[By|Near|At] the {p2}, {A} [met|found|saw] {B}, a <size> {B.kind}. {B} [was hungry|had hurt {B.his} foot|did not know the way home|was <sadfeel>].",
        '"[Where are you going|May I come with you|Can you help me]?" asked {B}. "[I am going to my {elder}|I am bringing {gives} to my {elder}|Come with me]," said {A}.',
        "[So they went on together.|{A} gave {B} some <food>, and they went on together.|{A} carried {B} for a while.|They told each other stories.]",
        "But at the crossroads {A} did not know [the way|where to go|which road to take]. {B} [remembered the way|asked a bird|climbed a <tree> and looked|smelled the air]. \"[To the left|To the right|Over the hill|Straight on]!\" {B.he} said.",
        "[Soon|At last|Before dark] they [saw the house|saw a light|stood at the door]. {A.his} {elder} [opened the door|hugged {A.him}|was waiting] and [said|called]: \"[Welcome|Come in|There you are]! [And who is your friend?|You must be hungry.|I was worried.]\"",
        "{A} gave {A.his} {elder} {gives}. [They all ate <food>.|They sat by the fire.|{B} told about the {p2}.]",
    ]


def fear(s):
    s.person("A"); s.fix("noise"); s.fix("elder"); s.hero("B")
    s.fixed["cause"] = s.rng.choice(["a <animal> looking for <food>", "a branch of the <tree> at the window", "only the wind in the chimney",
                                     "a hungry <pet>", "<number> <wild> on the roof", "{elder} working late", "a loose board", "{B}, who could not sleep"])
    s.fixed["cause"] = s.expand(s.fixed["cause"].replace("{elder}", "{A}'s {elder}"), sentence=False)
    s.fixed["room"] = s.rng.choice(["cellar", "attic", "kitchen", "garden", "barn", "old shed"])
    return [
        opening(s),
        "{A} was afraid of [the dark|the {room}|loud noises|the night]. [{A.he} always slept with a candle.|Nobody knew it.|{A.he} told only {B}.]",
        "One night there was a [strange|loud|soft] {noise} in the {room}. {A} [sat up|woke|pulled the blanket up]. \"[What is that|Who is there]?\" [whispered|asked] {A}.",
        "The {noise} [came again|did not stop|grew louder]. {A}'s heart beat [fast|like a drum].",
        "{A} [called {B}|went to {B}|woke {B}]. \"[Do you hear that {noise}?\"|Listen,\"|There is a {noise} in the {room},\"] {A.he} said. {B} [listened|was afraid too|nodded]."
        # When the noise is B, nobody is there to be woken.
        if s.fixed["B"].name not in s.fixed["cause"] else
        "{A} [thought of {A.his} {elder}|took a deep breath|counted to <number>]. \"[I must be brave|I want to know what it is],\" said {A}.",
        "{A} took a [lantern|candle|stick] and [went|walked] [slowly|on tiptoe|step by step] to the {room}. [The floor was cold.|The stairs creaked.|It was very dark.]",
        "{A.he} opened the door [a little|very slowly|with a shaking hand]. It was {cause}!",
        "{A} [laughed|began to laugh|felt silly|was glad]. \"[So that was the {noise}|There was nothing to fear|You scared me],\" {A.he} said.",
        "[In the morning|At breakfast] {A} told {A.his} {elder} [about the {noise}|everything]. \"[You were brave|Now you know what it is|Light makes fear small],\" {A.his} {elder} said.",
    ]


def grow(s):
    s.hero("A"); s.hero("B"); s.fix("plant"); s.fix("n", "number"); s.fix("season")
    s.fixed["enemy"] = s.rng.choice(["snails", "crows", "rabbits", "beetles", "mice"])
    return [
        opening(s),
        "In {season}, {A} [found|was given|bought] a {plant} seed. {A.he} [put it in the ground|planted it in a pot|dug a hole for it] [near the <place>|by the <tree>|behind the house].",
        "Every <part> {A} [gave it water|looked at the ground|talked to the seed]. [But nothing happened.|For {n} days there was only earth.]",
        '"[Perhaps it is asleep|You must wait|A seed needs time]," said {B}[, who lived next door|]. "[Sun and water will do it|Do not dig it up|Be patient]."',
        "After {n} [days|weeks] [a green leaf|a tiny shoot|something green] [came up|looked out of the ground]. {A} [jumped with joy|called {B}|danced around it].",
        "Then came the {enemy}. They [wanted to eat|nibbled at|sat around] the {plant}. \"[Go away|Shoo|Leave it alone]!\" [cried|said] {A}.",
        "{B} [had an idea|helped]. They [built a small fence|made a scarecrow|gave the {enemy} some <food> instead|kept watch at night], and the {enemy} [went away|did not come back].",
        "The {plant} grew [and grew|as high as {A}|bigger every day]. [It was the biggest {plant} in the {village}.|All the neighbours came to see it.|Even the <job> had never seen such a {plant}.]",
        "[In the end|When it was ripe|At the end of summer] {A} [shared it with {B}|gave half of it to {B}|kept <number> seeds for the next year].",
    ]


def village(s):
    s.person("A"); s.person("B"); s.fix("j1", "job"); s.fix("j2", "job")
    s.fixed["problem"], s.fixed["why"], s.fixed["cure"] = s.rng.choice([
        ("the well was dry", "A big stone blocked the spring", "rolled the stone away"),
        ("the mill stood still", "Branches were caught in the wheel", "pulled the branches out"),
        ("the clock did not ring", "A bird had built a nest in the clock", "moved the nest to a tree"),
        ("the lamp on the bridge was out", "There was no more oil", "brought oil in small bottles"),
        ("the gate would not open", "The lock was full of rust", "cleaned the lock with oil"),
        ("the oven was cold", "The chimney was full of leaves", "swept the chimney with a long brush")])
    return [
        "[In a small village|In a village by the [river|lake|sea|hill|forest]|Far away in a green valley] [lived a {A.kind} named {A}|there was a {A.kind} called {A}]. [It was a <weather> <season>.|Everyone there worked hard.|]",
        "One <part> {problem}. [Nobody knew why.|The people were <sadfeel>.|Everybody talked about it.]",
        "\"[We must wait|It is very old|It is bad luck],\" said the {j1}. \"[We need a new one|Somebody must pay for it|It was better in the old days],\" said the {j2}.",
        '"[Has anybody looked|Why do we not look first|May I look]?" asked {A}. [They laughed.|The {j1} shook his head.|Nobody answered.]',
        "So {A} and {A.his} friend {B} went to look [by themselves|with a lantern|after school]. [They crawled inside.|They climbed up.|It was dark and narrow.]",
        '{why}. "[That is all|Look, {A}|I see it]!" said {B}. "[Now we know|It is quite simple|We need more people]," said {A}.',
        "They [called the others|told the {j1}|ran back to the village]. The {j1}, the {j2} and the children [worked together|all came]. They {cure}.",
        "[Soon|At once|Before evening] all was well again, [and the people cheered|and there was <food> for everyone|and the bell was rung].",
        '"[We should have asked you first|Small people see well]," said the {j2} <softly>. {A} [blushed|smiled|only nodded].',
    ]


def race(s):
    s.beast("A"); s.beast("B"); s.beast("C"); s.fix("place"); s.fix("tree"); s.fix("prize", "fruit")
    return [
        opening(s),
        '"[I am the fastest|Nobody is faster than I am|I can run faster than the wind]," said {C} the {C.kind}. {C.he} said it [every day|to everyone|again and again].',
        "{A} [was tired of it|sighed|laughed]. \"[Then let us race|Show us|Let us see],\" said {A}. \"[To the {tree} and back|From the {place} to the {tree}|Once around the {place}].\"",
        "{B} the {B.kind} [was the judge|gave the signal|held the prize]. The prize was [a basket of|a sack of|some] {prize}. [Many <wild> came to watch.|Everybody was excited.|]",
        '"[One, two, three|Ready, steady, go|Run]!" [called|shouted] {B}. {C} [was far ahead|ran like the wind|was out of sight] at once, and {A} [came behind|went slowly|did not hurry].',
        "But {C} [stopped to drink|looked back and laughed|lay down in the grass|wanted to show off] and [fell into the mud|fell asleep|tripped over a root|lost the way].",
        "{A} [saw it|came by|heard {C} cry]. {A} could [win now|run on], but {A.he} [stopped|turned back] and helped {C} [up|].",
        '"[Why did you stop|Why did you not run on|Why are you helping me]?" asked {C}. "[A friend is better than a prize|It is no fun to win alone|You would do the same]," said {A}.',
        "They [crossed the line together|came to the {tree} side by side], and {B} gave them [both|each half of] the {prize}.",
    ]


def newcomer(s):
    s.person("A"); s.person("B"); s.fix("pet"); s.fix("petname"); s.fix("game"); s.fix("colour")
    return [
        opening(s),
        "[One day|In <season>|Last week] a new family moved into the {colour} house. They had a {B.kind} named {B} and a {pet} called {petname}.",
        "{B} [did not speak to anybody|stood alone at the fence|was very shy]. [The others did not know what to say.|Nobody asked {B.him} to play.]",
        '"[We should say hello|{B} looks <sadfeel>|I will go there]," said {A} to {A.his} <elder>.',
        "{A} took [some <food>|a basket of <fruit>|a <toy>] and knocked at the door of the {colour} house. {B} opened [the door|it] [slowly|a little]. \"[Hello, I am {A}|Hello, this is for you|Do you want to play {game}],\" said {A}.",
        "{B} [looked at the floor|said nothing|became red]. But {petname} the {pet} [jumped at {A}|ran out|sniffed at the basket] and [ate everything|stole the <food>|made a great mess].",
        "{A} [laughed|had to laugh], and then {B} laughed too. \"{petname} is always [hungry|naughty|like that],\" said {B}.",
        "They played {game} [all <part>|with {petname}|until supper]. {B} knew [many stories|a new song|a trick with a <small>|the names of all <wild>].",
        "[The next day|Soon] the other children [came too|wanted to know {B}|played with them], and {B} was not [alone|shy] any more.",
    ]


def honest(s):
    s.person("A"); s.fix("thing", "small"); s.fix("colour"); s.fix("elder"); s.person("B")
    s.fixed["item"] = s.rng.choice(["vase", "window", "jug", "plate", "clock", "mirror", "lamp", "bowl"])
    return [
        opening(s),
        "{A}'s {elder} had [an old|a beautiful|a dear] {colour} {item}. \"[Be careful with it|Do not touch it|It is very old],\" {A.his} {elder} always said.",
        "One <weather> <part> {A} and {B} played [<game>|with a ball|catch] [in the house|near the {item}|indoors]. [They ran and jumped.|They were very loud.|]",
        "Crash! The {colour} {item} [fell down|was broken|lay in pieces]. [They looked at each other.|It was very quiet.|{A} turned white.]",
        '"[We can say the <pet> did it|Nobody saw it|Let us hide the pieces]," [whispered|said] {B}. {A} [thought about it|did not like that|felt <sadfeel>].',
        '"[No|No, that is not right]," said {A}. "[I will tell the truth|It was my fault|We must say it]." [{A.his} knees shook.|{B} was ashamed.|]',
        "{A} went to {A.his} {elder} and [told everything|said: \"I broke the {item}\"|showed the pieces]. {A.his} {elder} was [quiet for a while|not happy|sad at first].",
        '"[A {item} can be mended|I am glad that you told me|The truth is worth more than a {item}]," said {A.his} {elder} <softly>.',
        "Together they [glued the pieces|mended the {item}|swept the floor]. [It had <number> cracks, but it was still {colour}.|{B} helped too.|{B} gave {B.his} <colour> <small> to pay for it.]",
    ]


def party(s):
    s.hero("A"); s.hero("B"); s.hero("C"); s.fix("dish"); s.fix("place"); s.fix("gift", "toy"); s.fix("colour")
    return [
        opening(s),
        "It was {A}'s birthday, but nobody [said anything|seemed to know|came]. {A} felt [forgotten|lonely|<sadfeel>].",
        "{A} went to {B} the {B.kind}. \"[Do you want to play|What day is it today|Do you have time]?\" asked {A}. \"[I am busy|Not today|I must go to the {place}],\" said {B} and [ran off|closed the door].",
        "Then {A} went to {C} the {C.kind}, but {C} [was busy too|hid something behind {C.his} back|was not at home]. [How strange!|\"Later!\" said {C}.|]",
        "{A} [walked|went] [slowly|sadly|alone] to the {place} and [sat down|threw stones|looked at the water|counted <wild>].",
        "[Suddenly|All at once] {A} [heard|saw] something behind the <tree>. \"[Surprise|Happy birthday, {A}]!\" [shouted|cried] {B} and {C}. [Everybody was there!|The <job> was there too.|]",
        "There was a {dish}, [lamps in the trees|<colour> flags|music], and a {colour} {gift} [for {A}|with a ribbon].",
        '"[So that is why you had no time|I thought you had forgotten me]," said {A}. "[We could never forget you|We have been planning it for <number> days]," said {B}.',
        "They [danced|sang|played <game>] and ate the {dish}. {C} [ate most of it|fell asleep under the table|told funny stories|played the drum].",
    ]


PLOTS = [lost, stuck, storm, share, bake, learn, trip, fear, grow, village, race, newcomer, honest, party]


def story(rng):
    s = Story(rng)
    plot = rng.choice(PLOTS)
    steps = plot(s)
    if "B" in s.fixed:
        for _ in range(rng.randint(0, 3)):
            # Near the start or just before the end, where no dialogue is torn apart.
            steps.insert(rng.choice([1, 2, len(steps)]), rng.choice(ASIDES))
    steps += rng.sample(ENDINGS, rng.choice([1, 1, 2]))
    # A paragraph breaks now and then, mostly before somebody speaks.
    out = ""
    for i, step in enumerate(steps):
        # Fixed values may hold templates themselves, so expand until nothing is left.
        text = s.expand(s.expand(step))
        if i == 0:
            out = text
        else:
            out += ("\n" if rng.random() < (0.45 if text.startswith('"') else 0.15) else " ") + text
    return out


def write(path, seed, size, seen):
    rng = random.Random(seed)
    total, count = 0, 0
    with open(path, "w", encoding="ascii", newline="\n") as f:
        while total < size:
            text = story(rng)
            if text in seen:
                continue
            seen.add(text)
            block = text + "\n" + SEPARATOR + "\n"
            f.write(block)
            total += len(block)
            count += 1
    print(f"{path.name}: {count} stories, {total} bytes")


def main():
    ap = argparse.ArgumentParser(description="Generate the stories for the tiny Llama.")
    ap.add_argument("out_dir", type=Path)
    ap.add_argument("--train-bytes", type=int, default=9_000_000)
    args = ap.parse_args()
    args.out_dir.mkdir(parents=True, exist_ok=True)
    seen = set()
    # The committed files come first, so that they do not depend on --train-bytes.
    write(args.out_dir / "validation.txt", 1001, 150_000, seen)
    write(args.out_dir / "calibration.txt", 2002, 150_000, seen)
    write(args.out_dir / "train.txt", 3003, args.train_bytes, seen)


if __name__ == "__main__":
    main()
