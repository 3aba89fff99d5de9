/**
 * Finds secrets in the path of a URL: the token of a webhook or bot, where the vendor's API has it in the path.
 * Invariant: only the shapes of known APIs and the prefixes of known tokens are found in the path of a request. The path of a base
 * URL, which an operator wrote, is also searched for segments that look random.
 */

export type SecretSpan = readonly [start: number, end: number];

interface Segment {
  readonly start: number;
  readonly end: number;
  /** Percent-decoded. */
  readonly text: string;
}

/** A path without any of these, and without percent-encoding, has no secret: most requests end here. */
const HINT = /bot\d|hook|services|workflows|triggers|interactions|key|xox|gh[pousr]_|pat[_-]|sk[-_]|eyJ|AKIA|AIza|%/i;

/** Where secrets are in the path, which ends before any `?` or `#`; in order. */
export function findPathSecrets(path: string): readonly SecretSpan[] {
  return HINT.test(path) ? search(segmentsOf(path), isKnownToken) : [];
}

/** The same for the path of a base URL, with segments that look random. */
export function findBasePathSecrets(path: string): readonly SecretSpan[] {
  return search(segmentsOf(path), (text, before) => isKnownToken(text) || looksRandom(text, before));
}

function search(
  segments: readonly Segment[],
  isSecret: (text: string, before: string | undefined) => boolean,
): readonly SecretSpan[] {
  const found = new Set<number>();
  const spans: SecretSpan[] = [];
  for (const [index, { text }] of segments.entries()) {
    for (const after of offsetsOfSecrets(segments, index)) found.add(index + after);
    if (isSecret(text, segments[index - 1]?.text)) found.add(index);
  }
  for (const [index, { start, end, text }] of segments.entries()) {
    // `/bot<token>`: the word stays readable.
    if (TELEGRAM.test(text)) spans.push([start + "bot".length, end]);
    else if (found.has(index)) spans.push([start, end]);
  }
  return spans;
}

/** https://core.telegram.org/bots/api#making-requests */
const TELEGRAM = /^bot\d+:./i;

const ID = /^\d{1,20}$/;
/** Routes below the webhooks of other APIs: `/webhooks/1/deliveries`. Any other text there may be a token. */
const ROUTE =
  /^(?:attempts|calls|config|deliveries|disable|enable|events|executions|history|logs?|messages|pings?|redeliver|status|tests?)$/;
const WORD = /^[a-z]+(?:[_-][a-z]+)*$/;

/** How far after the segment at `index` its secrets are, if this segment begins one of the known shapes. */
function offsetsOfSecrets(segments: readonly Segment[], index: number): readonly number[] {
  const [one = "", two = ""] = [1, 2].map((after) => segments[index + after]?.text);
  switch (segments[index]?.text.toLowerCase()) {
    // https://docs.discord.com/developers/resources/webhook#execute-webhook, and the tokens of interactions
    case "webhooks":
    case "webhook":
    case "interactions":
      return two !== "" && !ROUTE.test(two) && (ID.test(one) || isMixed(two, TOKEN_LENGTH)) ? [2] : [];
    // https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
    case "services":
      return /^T[A-Z0-9]*$/.test(one) && /^B[A-Z0-9]*$/.test(two) ? [3] : [];
    case "workflows":
    case "triggers":
      return /^[TE][A-Z0-9]{4,}$/.test(one) ? [2, 3, 4] : [];
    // Mattermost, Rocket.Chat and Zapier: /hooks/<token>, /hooks/<id>/<token>, /hooks/catch/<id>/<token>
    case "hooks":
      return [1, 2, 3].filter((after) => isMixed(segments[index + after]?.text ?? "", MIXED_LENGTH));
    // Microsoft Teams: /IncomingWebhook/<token>/<id>
    case "incomingwebhook":
      return [1, 2, 3];
    // https://ifttt.com/maker_webhooks: /with/key/<key>
    case "key":
      return segments[index - 1]?.text.toLowerCase() === "with" ? [1] : [];
    default:
      return [];
  }
}

const MIXED_LENGTH = 6;
/** Below an id that is no number, shorter texts may be other ids. */
const TOKEN_LENGTH = 24;
const isMixed = (text: string, least: number) =>
  text.length >= least && !ID.test(text) && !WORD.test(text) && /^[\w.~-]+$/.test(text) && /\d/.test(text);

/** The prefixes by which secret scanners recognize tokens. */
const KNOWN_TOKEN =
  /^(?:xox[a-z]-|xapp-|gh[pousr]_|github_pat_|glpat-|sk-|[sr]k_(?:live|test)_|eyJ[\w-]{8,}\.|AKIA[A-Z0-9]{12}|AIza[\w-]{30})[\w.-]{4,}$|^(?:AKIA[A-Z0-9]{16}|AIza[\w-]{35})$/;

const isKnownToken = (text: string) => KNOWN_TOKEN.test(text);

/** Ids that identify an account, and are no secret, follow the name of their collection. */
const COLLECTION = /^(?:accounts|tenants|projects|zones|subscriptions|workspaces|organizations|orgs|users|teams)$/i;
/** Before the host, which DNS shows to all: `https://AB12CD34EF.algolia.net/`. */
const SCHEME = /^https?:$/i;
const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

function looksRandom(text: string, before: string | undefined): boolean {
  if (UUID.test(text) || COLLECTION.test(before ?? "") || SCHEME.test(before ?? "")) return false;
  if (/^[0-9a-f]{32,}$/i.test(text)) return /\d/.test(text) && /[a-f]/i.test(text);
  return /^[\w~.:-]{20,}$/.test(text) && /\d/.test(text) && /[a-z]/.test(text) && /[A-Z]/.test(text);
}

function segmentsOf(path: string): Segment[] {
  const segments: Segment[] = [];
  const length = endOfPath(path);
  let start = 0;
  const add = (end: number) => {
    const text = end > start ? decoded(path.slice(start, end)).trim() : "";
    // Servers drop these, and parameters after a semicolon.
    if (text !== "" && text !== ".") segments.push({ start, end, text: text.split(";", 1)[0] ?? "" });
  };
  // An encoded slash is one for some servers, and one that is encoded twice for those behind a proxy.
  for (const { index, 0: slash } of path.slice(0, length).matchAll(/[/\\]|%(?:25)*(?:2f|5c)/gi)) {
    add(index);
    start = index + slash.length;
  }
  add(length);
  return segments;
}

function endOfPath(path: string): number {
  const end = path.search(/[?#]/);
  return end === -1 ? path.length : end;
}

/** Decoded twice: `%2541` is `%41` to the gateway, and may be `A` to a server behind another proxy. */
function decoded(text: string): string {
  if (!text.includes("%")) return text;
  try {
    return decodeURIComponent(text.replace(/%25/g, "%"));
  } catch {
    return text;
  }
}
