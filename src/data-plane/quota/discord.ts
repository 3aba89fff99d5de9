/**
 * Discord's limits (docs.discord.com/developers/topics/rate-limits): buckets by route, named in the responses and counted
 * separately per channel, guild and webhook; fifty requests a second over all of them; and a ban of clients that are refused ten
 * thousand times in ten minutes.
 */
import type { QuotaReading } from "./read-quota.ts";
import { closureByScope, DAY_MS, hashedName, type QuotaRules } from "./rules.ts";

/** Top-level resources: each id is counted separately, an interaction by its token. */
const MAJOR = /^\/(channels|guilds|webhooks|interactions)\/(\d{1,20})(?:\/([\w-]{20,}))?(?=\/|$)/;

/**
 * Exempt from the global limit: docs.discord.com/developers/interactions/receiving-and-responding#endpoints.
 * Follow-ups of an interaction use a webhook's path; the token of a real webhook has 68 characters.
 */
const INTERACTION = /^\/(?:interactions\/\d{1,20}\/[\w-]{20,}|webhooks\/\d{1,20}\/[\w-]{81,})(?=\/|$)/;

export const discordRules: QuotaRules = {
  routeOf(method, path) {
    const route = withoutBase(path);
    const [, , id = "", token] = MAJOR.exec(route) ?? [];
    return { name: `${method} ${templateOf(route)}`, major: token === undefined ? id : `${id}/${hashedName(token)}` };
  },
  namesBuckets: true,
  hasFixedWindows: true,
  paces: [
    {
      name: "global",
      points: 50,
      // Requests do not arrive as evenly as they are sent. With a tenth of a second more, Discord sees at most fifty in any second,
      // even if one request takes that much longer to arrive than another.
      windowMs: 1_100,
      costOf: (_, path) => (INTERACTION.test(withoutBase(path)) ? 0 : 1),
    },
  ],
  maxInFlight: Number.POSITIVE_INFINITY,
  longestHoldMs: DAY_MS,
  triesLongHolds: false,
  refusals: {
    limit: 10_000,
    windowMs: 600_000,
    // A refusal because other clients used up a shared resource does not count against this one.
    counts: (status, scope) => status === 401 || status === 403 || (status === 429 && scope !== "shared"),
  },
  closureOf: (status, reading, now) =>
    status === 429 && !isSublimit(reading) ? closureByScope(reading, now) : undefined,
};

/**
 * A limit on what a request changes, such as a channel's name twice in ten minutes: the bucket has points left, and the rest of it
 * is not limited.
 */
function isSublimit({ scope, windows }: QuotaReading): boolean {
  return scope !== "global" && windows.length > 0 && windows.every(({ remaining }) => remaining > 0);
}

/** `/api/v10/channels/1` and `/channels/1` are the same route: which one is used depends on the base URL. */
function withoutBase(path: string): string {
  return path.replace(/^(?:\/api)?(?:\/v\d{1,3})?(?=\/)/, "");
}

/** The route as the documentation writes it, with ids as parameters. The id of the top-level resource is `major`. */
function templateOf(route: string): string {
  return route
    .replace(/^(\/(?:webhooks|interactions)\/\d{1,20})\/[\w-]{20,}/, "$1/:token")
    .replace(/\/reactions\/.*$/, "/reactions/:reaction")
    .replace(/\/\d{1,20}(?=\/|$)/g, "/:id")
    .split("/")
    .map((segment) => (WORD.test(segment) ? segment : ":other"))
    .join("/");
}

/** A word of a route, a parameter, or nothing. Anything else may be a token, and the names of routes are stored. */
const WORD = /^(?:@?[a-z][a-z-]{0,40}|:[a-z]+)?$/;
