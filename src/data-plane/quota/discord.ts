/**
 * Discord's limits (docs.discord.com/developers/topics/rate-limits): buckets by route that are named in the answers, counted apart
 * by channel, guild and webhook; fifty requests a second over all of them; and a ban for whoever is refused ten thousand times
 * in ten minutes.
 */
import { closureByScope, nameOf, type QuotaRules } from "./rules.ts";

/** Top-level resources, whose id counts apart; an interaction by its token. */
const MAJOR = /^\/(channels|guilds|webhooks|interactions)\/(\d{1,20})(?:\/([\w-]{20,}))?(?=\/|$)/;

/**
 * Not bound to the global limit: docs.discord.com/developers/interactions/receiving-and-responding#endpoints.
 * What follows an interaction goes to a webhook's path; the token of a webhook proper has 68 characters.
 */
const INTERACTION = /^\/(?:interactions\/\d{1,20}\/[\w-]{20,}|webhooks\/\d{1,20}\/[\w-]{81,})(?=\/|$)/;

export const discordRules: QuotaRules = {
  routeOf(method, path) {
    const route = withoutBase(path);
    const [, , id = "", token] = MAJOR.exec(route) ?? [];
    return { name: `${method} ${templateOf(route)}`, major: token === undefined ? id : `${id}/${nameOf(token)}` };
  },
  namesBuckets: true,
  hasFixedWindows: true,
  paces: [
    {
      name: "global",
      points: 50,
      // What is sent at even distances does not arrive so: with a tenth of a second more, no second there sees more than fifty
      // even if one request takes that much longer to arrive than another.
      windowMs: 1_100,
      costOf: (_, path) => (INTERACTION.test(withoutBase(path)) ? 0 : 1),
    },
  ],
  maxInFlight: Number.POSITIVE_INFINITY,
  refusals: {
    limit: 10_000,
    windowMs: 600_000,
    // What others have used up of a shared resource is not held against whoever asks.
    counts: (status, scope) => status === 401 || status === 403 || (status === 429 && scope !== "shared"),
  },
  closureOf: (status, reading, now) => (status === 429 ? closureByScope(reading, now) : undefined),
};

/** `/api/v10/channels/1` and `/channels/1` are one: which of the two it is depends on the base URL. */
function withoutBase(path: string): string {
  return path.replace(/^(?:\/api)?(?:\/v\d{1,3})?(?=\/)/, "");
}

/** The route as the documentation writes it: ids are parameters, but that of the top-level resource is told apart elsewhere. */
function templateOf(route: string): string {
  return route
    .replace(/^(\/(?:webhooks|interactions)\/\d{1,20})\/[\w-]{20,}/, "$1/:token")
    .replace(/\/reactions\/.*$/, "/reactions/:reaction")
    .replace(/\/\d{1,20}(?=\/|$)/g, "/:id")
    .split("/")
    .map((segment) => (WORD.test(segment) ? segment : ":other"))
    .join("/");
}

/** A part of a route, or nothing. What else stands there may be a token, however it is spelt, and a name of a route is kept. */
const WORD = /^(?:@?[a-z][a-z-]{0,40}|:[a-z]+)?$/;
