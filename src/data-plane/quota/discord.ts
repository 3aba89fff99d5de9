/**
 * Discord's limits (docs.discord.com/developers/topics/rate-limits): buckets by route that are named in the answers, counted apart
 * by channel, guild and webhook; fifty requests a second over all of them; and a ban for whoever is refused ten thousand times
 * in ten minutes.
 */
import { type QuotaRules, untilOf } from "./rules.ts";

/** Top-level resources, whose id counts apart. */
const MAJOR = /^\/(channels|guilds|webhooks)\/(\d{1,20})(?:\/([\w-]{20,}))?(?=\/|$)/;

/** Not bound to the global limit: docs.discord.com/developers/interactions/receiving-and-responding#endpoints */
const INTERACTION = /^\/(?:interactions|webhooks)\/\d{1,20}\/[\w-]{20,}(?=\/|$)/;

const UNTOLD_MS = 1_000;

export const discordRules: QuotaRules = {
  routeOf(method, path) {
    const route = withoutBase(path);
    const [, , id = "", token] = MAJOR.exec(route) ?? [];
    return { name: `${method} ${templateOf(route)}`, major: token === undefined ? id : `${id}/${token}` };
  },
  namesBuckets: true,
  paces: [
    {
      name: "global",
      points: 50,
      // A little more than the second, because what is sent at even distances does not arrive so.
      windowMs: 1_020,
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
  closureOf(status, reading, now) {
    if (status !== 429) return undefined;
    return { until: untilOf(reading) ?? now + UNTOLD_MS, of: reading.scope === "global" ? "all" : "bucket" };
  },
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
    .replace(/\/\d{1,20}(?=\/|$)/g, "/:id");
}
