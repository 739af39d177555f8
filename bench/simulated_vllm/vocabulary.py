"""The few hundred words that the simulated answers are made of."""


def words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ADJECTIVES = words("""
amber ancient blunt bold brave brief bright brisk calm careful cheap clean clever cold common
cosy crisp curved damp dark deep dense distant dry dull eager early empty exact faint fair
famous fast firm flat formal frail fresh frozen gentle golden grand green grey hardy heavy
hidden hollow honest huge humble idle inner iron keen large late lean light lively local lonely
long loud loyal mellow mild modest narrow neat new noble northern odd old open outer pale
patient plain polite proud pure quick quiet rare ready remote rich rough round rural rusty sharp
short silent simple slim slow small smooth soft solid southern spare square steady steep stern
stiff strange strong subtle sudden sunny sweet swift tall tame tender thick thin tidy tiny tough
urban useful vague vast vivid warm weak western wide wild wise wooden young
""")

NOUNS = words("""
actor anchor apple arch archive atlas axle badge baker bank barrel basin basket beacon bell
bench bicycle border bottle branch brick bridge broker bucket butter button cabin cable camera
canal candle canyon captain carpet castle cellar chapel charter circle citizen clerk climate
clock cloud coast coin column comet compass copper corner cotton courier crane crater creek
crystal current curtain dancer delta desert diagram doctor dolphin driver eagle editor engine
estate fabric falcon farmer feather fence ferry festival fiddle filter flag flame forest fossil
fountain furnace galaxy garden gate glacier granite guitar hammer harbour harvest hedge helmet
hill horizon island jacket journal judge kettle kitchen ladder lantern lawyer leaf ledger lemon
lens letter library lever lighthouse magnet mantle maple marble market meadow melody merchant
meteor mill miner mirror monument mountain museum needle nephew notebook oak ocean officer orbit
orchard orchid otter oven painter palace paper parcel pasture path pebble pencil pendulum pepper
piano pilot pine planet plank poet pollen pond porter portrait prairie printer prism queen quilt
rabbit railway ranger raven reader recipe reef ribbon river rocket root rope saddle sailor
salmon satchel scholar school screen sculptor season shelter shepherd signal silver singer
sketch spark spider spring stable station statue steam storm stove stream student summit surgeon
swallow tailor teacher temple thread thunder ticket tower trader train tunnel turbine valley
vessel village violin volcano voyage wagon waiter walnut weaver whale wheel widow willow window
winter workshop writer
""")

VERBS = words("""
admires answers avoids balances borrows bridges builds carries charts checks circles cleans
closes collects compares copies counts covers crosses describes draws enters escapes explains
faces fills finds follows frames gathers guards guides handles heats helps hides holds imitates
improves inspects joins keeps leads lifts lights limits lowers maps marks matches measures meets
mends mixes moves names needs notices offers opens orders owns paints passes plans praises
prefers presses protects pulls pushes raises reaches receives records reflects repairs replaces
rescues returns reveals saves seeks sells sends shades shapes shares sharpens shields shows
signals sketches sorts splits steers studies supports surrounds teaches tests tightens tracks
trades trusts turns visits warms washes watches welcomes weighs
""")

ADVERBS = words("""
again alone already always below briefly carefully closely daily early easily evenly eventually
finally firmly forever freely gently gladly gradually here indoors instead later lightly loudly
nearby nearly neatly often once openly outdoors patiently perfectly politely promptly proudly
quickly quietly rarely regularly safely secretly silently simply slowly softly sometimes soon
steadily suddenly there today together tonight twice upstairs usually warmly weekly wisely
yearly
""")
