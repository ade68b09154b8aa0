"""How synthetic users use services: who they are, when, what they choose.

What they have in common and what is each user's own: see
`fedmeta.benchmarks.recommendation.synthetic`.
"""

from typing import NamedTuple

import numpy as np

CATEGORIES = ("utility", "social", "media", "reading")  # the first are side services
SIDE_RANKS = 5  # of 8 services in a row by popularity; the others are one a category
MOST = 36  # services of a user, as in the paper
MONDAY = 17_532  # 2018-01-01, in days since 1970: the first day of the earliest log

# Records of a user are a Pareto between bounds; between the paper's the mean is 686.
TAIL = 0.593

# The rest was calibrated on 300 users (seed 0), by the last 20 % of each user's records
# after 80 % | 5 % of support, in % of all records, top 1/top 4. The paper has 43/81 |
# 42/73 for the most frequent, 70/81 for the most recent services, 78/93 | 59/73 for
# naive Bayes and 84/95 | 69/78 for a network of each user; this has 44/84 | 42/76,
# 70/82, 77/93 | 65/77 and, on every fifth user, 85/96 | 64/77.
SERVICES = (4.0, 18.0, 5.0)  # with 100 records, more with 6,000, standard deviation
THIRD_MAIN = 0.7  # share of users of 8 services and more with three main ones, not two
SESSION = 14.7  # records, on average
SESSIONS_A_DAY = 5.0
SPACING = 40 / 1440  # days between beginnings of sessions, at least
LONGEST = 1500.0  # seconds of a session
STAYS = 3  # main services in a session, at most
NEXT_STAY = 0.5  # probability that a stay has a successor in the session
STAY_SHAPE = 3.0  # of the gamma distribution of a stay's length
STAY_WEIGHTS = (1.8, 1.0, 0.8)  # lengths at the main services
FIRST_STAYS = 0.7  # length of those with which a log begins, over that of others
MOODS = 0.05  # share of sessions whose main service is none of the part of the day's
TASTE = 10.0  # concentration of the Dirichlet distribution of a user's main services
HABIT = 2.0  # log odds of the main service that most users prefer then
PREFERRED = (1, 0, 2, 1)  # that service, by part of the day
ROUND = 6  # side services in a session, at most
ROUND_ENDS = 0.24  # share of side services that end a round, by state of the battery
JUMPS = 0.05  # share of steps of a round that lead anywhere
AGAIN = 0.14  # share of side services with a second record
BEGINNINGS = 2.0  # how differently a user likes to begin a round with his services
WHIM = 0.5  # how little that decides, in the same unit
FIRST_SIDES = 3  # services of the rounds at the log's beginning
TAKEN_UP = (0.03, 0.25)  # the others come between these shares of the log
KEPT = 0.55  # share of a user's side services that are in use together, four at least,
MOST_KEPT = 9  # and at most; for a new one, the oldest is dropped
LOW_BATTERY = 55  # percent; rounds go another way below it
OTHER_DAYS = (1, 3, 5)  # from Monday 0: rounds begin with the neighbour
REPEAT_GAP, CHANGE_GAP = 28.0, 120.0  # seconds, the medians
GAP_SPREAD = 0.3  # standard deviation of their logarithm

# Sessions begin at these relative rates in the hours of a day, from midnight.
RHYTHM = np.array(
    [5, 2, 2, 1, 1, 3, 10, 20, 26, 24, 22, 22, 28, 26, 22, 22, 24, 28, 30, 34, 36, 34]
    + [26, 14]
)
MORNING = 6  # the hour at which days and logs begin
PARTS = (5, 10, 17, 22)  # hours at which morning, day, evening and night begin


class Users(NamedTuple):
    """What users are like; u users, k = MOST services, the main ones first."""

    records: np.ndarray  # int [u]
    services: np.ndarray  # int [u, k] by popularity
    mains: np.ndarray  # int [u] how many are main services
    sides: np.ndarray  # int [u] how many come after them
    taste: np.ndarray  # [u, 3] share of each main service
    habit: np.ndarray  # int [u, 4] main service of a part of the day
    rank: np.ndarray  # int [u, k] side services in the order in which they are taken up
    taken_up: np.ndarray  # [u, k] when, as a share of the log, in that order
    liking: np.ndarray  # [u, k, 4] to begin with a side service, by part of the day
    ends: np.ndarray  # bool [u, 2, k] whether one ends a round; second: low battery


class Sessions(NamedTuple):
    """When sessions are, all of a user's after one another; s sessions."""

    user: np.ndarray  # int [s]
    number: np.ndarray  # int [s] from 0
    progress: np.ndarray  # [s] share of the log
    begin: np.ndarray  # [s] seconds since 1970
    part: np.ndarray  # int [s] of the day, 0 for the morning
    weekday: np.ndarray  # int [s]
    drain: np.ndarray  # [s] percent an hour
    used: np.ndarray  # [s] percent since a full battery, charges left out

    def battery(self, session: np.ndarray | slice, seconds: np.ndarray | float):
        """Percent left so many seconds after a session's beginning, charged at 10."""
        used = self.used[session] + self.drain[session] * seconds / 3600
        return 100 - used % 90


def sizes_of(users: int, low: int, high: int) -> np.ndarray:
    """Ascending: quantiles and no draws, for the sum to be the same for all seeds."""
    share = (np.arange(users) + 0.5) / users * (1 - (low / high) ** TAIL)
    return np.rint(low * (1 - share) ** (-1 / TAIL)).astype(np.int64)


def categories_of(services: int) -> np.ndarray:
    return np.maximum(np.arange(services) % 8 - SIDE_RANKS + 1, 0)


def draw_users(
    records: np.ndarray, categories: np.ndarray, rng: np.random.Generator
) -> Users:
    u, column = len(records), np.arange(MOST)
    least, greatest, spread = SERVICES
    growth = np.log(records / 100) / np.log(60)  # 1 for 6,000 records
    number = least + greatest * growth + spread * rng.standard_normal(u)
    number = np.clip(np.rint(number), 2, MOST).astype(int)
    three = (rng.random(u) < THIRD_MAIN) & (number >= 8)
    mains = np.where(number < 4, 1, 2 + three)
    sides = number - mains

    # The greatest of Zipf's log probabilities with Gumbel noise are draws without
    # replacement, in order.
    keys = rng.gumbel(size=(u, len(categories))) - np.log(
        1 + np.arange(len(categories))
    )
    side_ranks = np.flatnonzero(categories == 0)
    drawn = side_ranks[np.argsort(-keys[:, side_ranks], axis=1)[:, :MOST]]
    services = np.take_along_axis(drawn, np.maximum(column - mains[:, None], 0), axis=1)
    for main in range(3):
        ranks = np.flatnonzero(categories == 1 + main)
        own = ranks[np.argmax(keys[:, ranks], axis=1)]
        services[:, main] = np.where(main < mains, own, services[:, main])

    there = np.arange(3) < mains[:, None]
    taste = rng.gamma(TASTE, size=(u, 3)) * there
    taste /= taste.sum(axis=1, keepdims=True)
    odds = np.exp(HABIT * (np.arange(3) == np.array(PREFERRED)[:, None]))
    habit = taste[:, None] * odds
    habit /= habit.sum(axis=2, keepdims=True)

    order = np.where(column < sides[:, None], rng.random((u, MOST)), np.inf)
    first = column < FIRST_SIDES
    taken_up = np.where(first, 0, rng.uniform(*TAKEN_UP, size=(u, MOST)))
    taken_up[column >= sides[:, None]] = np.inf
    return Users(
        records,
        services,
        mains,
        sides,
        taste,
        _choose(habit, rng),
        order.argsort(axis=1).argsort(axis=1),
        np.sort(taken_up, axis=1),
        BEGINNINGS * rng.standard_normal((u, MOST, 4)),
        rng.random((u, 2, MOST)) < ROUND_ENDS,
    )


def _choose(shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One of the last axis, by its shares."""
    draws = rng.random((*shares.shape[:-1], 1))
    return (draws > np.cumsum(shares, axis=-1)[..., :-1]).sum(axis=-1)


def draw_sessions(users: Users, rng: np.random.Generator) -> Sessions:
    u = len(users.records)
    count = np.maximum(np.rint(users.records / SESSION).astype(int), users.mains + 1)
    user = np.repeat(np.arange(u), count)
    number = _place(user)
    s = len(user)

    # Busy users have more sessions a day, and more days.
    a_day = SESSIONS_A_DAY * (users.records / 686) ** 0.25
    a_day = a_day * np.exp(0.3 * rng.standard_normal(u))
    # In days of a clock that runs as fast as sessions come, so that spaces on it are
    # never shorter than on the real one by more than the peak of the rhythm.
    rhythm = np.roll(RHYTHM, -MORNING) / RHYTHM.mean()
    space = SPACING * rhythm.max()
    mean = np.maximum(1 / a_day[user] - space, 0.01)
    steps = np.where(
        number, space + mean * rng.exponential(size=s), 0.1 * rng.random(s)
    )
    clock = _running_sum(steps, user)
    day = np.floor(clock).astype(int)
    hours = np.interp(clock - day, np.append(0, np.cumsum(rhythm)) / 24, np.arange(25))
    hours += MORNING
    first_day = MONDAY + rng.integers(0, 28, u)[user]
    begin = (first_day + day) * 86_400 + hours * 3600
    new_day = (np.diff(user, prepend=-1) != 0) | (np.diff(day, prepend=-1) != 0)
    of_day = np.cumsum(new_day) - 1
    drain = rng.uniform(3, 10, of_day[-1] + 1)[of_day]
    charge = rng.uniform(0, 90, of_day[-1] + 1)[of_day]
    return Sessions(
        user,
        number,
        (number + 0.5) / count[user],
        begin,
        (np.searchsorted(PARTS, hours % 24, side="right") - 1) % 4,
        (begin // 86_400 - MONDAY).astype(int) % 7,
        drain,
        charge + drain * (hours - MORNING),
    )


def records_of(
    users: Users, sessions: Sessions, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """User, time in seconds since 1970, service and battery of each record."""
    low = (sessions.battery(slice(None), 0) < LOW_BATTERY).astype(int)
    rounds = _side_rounds(users, sessions, low, rng)
    stays = _main_stays(users, sessions, rng)
    brief = (rounds >= 0) * (1 + (rng.random(rounds.shape) < AGAIN))
    left = users.records - np.bincount(sessions.user, brief.sum(axis=1)).astype(int)
    lengths = np.hstack([brief, _stay_lengths(stays, users, sessions, left, rng)])

    visit = np.repeat(np.arange(lengths.size), lengths.ravel())
    session = visit // lengths.shape[1]
    user = sessions.user[session]
    slot = np.hstack([rounds, stays]).ravel()[visit]
    gap = np.where(np.diff(visit, prepend=-1), CHANGE_GAP, REPEAT_GAP)
    gap = gap * np.exp(GAP_SPREAD * rng.standard_normal(len(visit)))
    gap[np.diff(session, prepend=-1) != 0] = 0
    after = _running_sum(gap, session)
    longest = np.maximum.reduceat(after, np.flatnonzero(np.diff(session, prepend=-1)))
    after *= np.minimum(1, LONGEST / np.maximum(longest, 1))[session]
    # The shortest logs may have had too many side services.
    kept = _place(user) < users.records[user]
    battery = sessions.battery(session, after)
    time = np.floor(sessions.begin[session] + after).astype(np.int64)
    service = users.services[user, slot]
    return user[kept], time[kept], service[kept], battery[kept].astype(np.uint8)


def _side_rounds(
    users: Users, sessions: Sessions, low: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """int [s, ROUND]: slots of side services in turn, -1 where there is none."""
    user, s = sessions.user, len(sessions.user)
    together = np.clip(
        np.rint(KEPT * users.sides), np.minimum(users.sides, 4), MOST_KEPT
    ).astype(int)
    known = (users.taken_up[user] <= sessions.progress[:, None]).sum(axis=1)
    rank = users.rank[user]
    used = (rank < known[:, None]) & (rank >= (known - together[user])[:, None])
    n = used.sum(axis=1)
    ring = np.argsort(~used, axis=1, kind="stable")  # [s, k] the n used ones first

    rows = np.arange(s)
    liking = users.liking[user, :, sessions.part]
    liking = np.where(used, liking + WHIM * rng.gumbel(size=used.shape), -np.inf)
    place = np.take_along_axis(liking, ring, axis=1).argmax(axis=1)
    neighbour = place ^ 1
    other = np.isin(sessions.weekday, OTHER_DAYS) & (neighbour < n)
    place = np.where(other, neighbour, place)

    rounds = np.full((s, ROUND), -1)
    goes_on = sessions.number >= users.mains[user]
    for step in range(ROUND):
        goes_on = goes_on & (step < n)
        side = ring[rows, place]
        rounds[:, step] = np.where(goes_on, users.mains[user] + side, -1)
        goes_on = goes_on & ~users.ends[user, low, side]
        # Two neighbours lead to the same two services, to the first of them with a
        # full battery, to the second with a low one: neither battery nor service tells.
        onwards = np.where(n >= 4, (place ^ low) + 2, place + 1) % n
        jumps = rng.random(s) < JUMPS
        place = np.where(jumps, (rng.random(s) * n).astype(int), onwards)
    return rounds


def _main_stays(
    users: Users, sessions: Sessions, rng: np.random.Generator
) -> np.ndarray:
    """int [s, STAYS]: main services in turn, -1 where there is none."""
    user, s = sessions.user, len(sessions.user)
    mains = users.mains[user]
    moody = rng.random(s) < MOODS
    first = np.where(
        moody, _choose(users.taste[user], rng), users.habit[user, sessions.part]
    )
    tries = sessions.number < mains
    first = np.where(tries, sessions.number, first)
    turn = np.arange(STAYS)
    goes_on = (rng.random((s, STAYS)) < NEXT_STAY) & ~tries[:, None]
    goes_on &= mains[:, None] > 1
    goes_on[:, 0] = True
    there = np.logical_and.accumulate(goes_on, axis=1)
    return np.where(there, (first[:, None] + turn) % mains[:, None], -1)


def _stay_lengths(
    stays: np.ndarray,
    users: Users,
    sessions: Sessions,
    left: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """int [s, STAYS]: at least one record each; a user's sum to what is left."""
    user, there = sessions.user, stays >= 0
    weight = rng.gamma(STAY_SHAPE, size=stays.shape) * there
    weight *= np.take(STAY_WEIGHTS, np.maximum(stays, 0))
    weight[sessions.number < users.mains[user]] *= FIRST_STAYS
    total = np.bincount(user, weight.sum(axis=1))
    extra = np.maximum(left - np.bincount(user, there.sum(axis=1)).astype(int), 0)
    share = _running_sum(weight.ravel(), np.repeat(user, STAYS)).reshape(stays.shape)
    # 1e-6 more, so that rounding errors do not cost a user the last record.
    upto = np.floor(share / total[user, None] * extra[user, None] + 1e-6).astype(int)
    before = np.append(0, upto.ravel()[:-1]).reshape(stays.shape)
    before[np.diff(user, prepend=-1) != 0, 0] = 0
    return there + upto - before


def _place(owner: np.ndarray) -> np.ndarray:
    """int [n]: position among the neighbours of the same owner."""
    index = np.arange(len(owner))
    begins = np.diff(owner, prepend=-1) != 0
    return index - np.maximum.accumulate(np.where(begins, index, 0))


def _running_sum(values: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """[n]: of the values so far of the same owner, this one included."""
    sums = np.cumsum(values)
    begins = np.flatnonzero(np.diff(owner, prepend=-1))
    counts = np.diff(np.append(begins, len(owner)))
    return sums - np.repeat(sums[begins] - values[begins], counts)
