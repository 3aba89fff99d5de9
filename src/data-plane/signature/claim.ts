/**
 * Reads what the headers of a signed request claim: the signatures, the signed time and the signed text before the body.
 * Invariant: a header that is there several times is malformed, because two readers could choose two of them; and every text is
 * hashed as it was sent, so nothing that the upstream reads was left out of the signature.
 */
import type { VerifyDefinition } from "../../config/verify-schema.ts";

export interface Claim {
  /** Seconds since the epoch; undefined for a scheme without a signed time. */
  readonly timestamp: number | undefined;
  /** Latin-1, as the header was received. */
  readonly before: string;
  /** At least one, each with the length of the scheme's hash. */
  readonly signatures: readonly Buffer[];
}

type Reading = Claim | "missing" | "malformed";

/** Vendors send two while a secret is rotated. */
const SIGNATURES_LIMIT = 16;

const DIGEST_BYTES = { sha1: 20, sha256: 32, sha384: 48, sha512: 64 } as const;

/** At most twelve digits: a time after the year 30000 is none. */
const TIME = /^\d{1,12}$/;

export type Algorithm = keyof typeof DIGEST_BYTES;

export function algorithmOf({ scheme, algorithm }: VerifyDefinition): Algorithm {
  return scheme === "hmac" ? (algorithm ?? "sha256") : "sha256";
}

/** The headers that carry the signature, for documentation and messages. */
export function signatureHeaders({ scheme, header = "" }: VerifyDefinition): readonly string[] {
  return scheme === "hmac" ? [header] : HEADERS[scheme];
}

/** All headers that may carry a part of the signature, in lower case. */
export function signatureNames(verify: VerifyDefinition): readonly string[] {
  const names = signatureHeaders(verify).map((name) => name.toLowerCase());
  if (verify.scheme !== "standard-webhooks") return names;
  return [...names, ...names.map((name) => name.replace("webhook-", "svix-"))];
}

const HEADERS = {
  github: ["X-Hub-Signature-256"],
  stripe: ["Stripe-Signature"],
  slack: ["X-Slack-Signature", "X-Slack-Request-Timestamp"],
  "standard-webhooks": ["Webhook-Signature", "Webhook-Timestamp", "Webhook-Id"],
} as const;

/** @param rawHeaders names and values in turn. */
export function readClaim(verify: VerifyDefinition, rawHeaders: readonly string[]): Reading {
  switch (verify.scheme) {
    case "github":
      return single(onlyValueOf(rawHeaders, "x-hub-signature-256"), "sha256=", "hex", "sha256");
    case "hmac": {
      const { header = "", prefix = "", encoding = "hex" } = verify;
      return single(onlyValueOf(rawHeaders, header.toLowerCase()), prefix, encoding, algorithmOf(verify));
    }
    case "stripe":
      return readStripe(onlyValueOf(rawHeaders, "stripe-signature"));
    case "slack":
      return readSlack(rawHeaders);
    case "standard-webhooks":
      return readStandard(rawHeaders);
  }
}

/** Undefined where there is none, null where there are several. */
function onlyValueOf(rawHeaders: readonly string[], lowerCaseName: string): string | undefined | null {
  let found: string | undefined;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    if ((rawHeaders[i] as string).toLowerCase() !== lowerCaseName) continue;
    if (found !== undefined) return null;
    found = rawHeaders[i + 1];
  }
  return found;
}

function single(
  value: string | undefined | null,
  prefix: string,
  encoding: NonNullable<VerifyDefinition["encoding"]>,
  algorithm: Algorithm,
): Reading {
  if (value === undefined) return "missing";
  if (value === null || !value.startsWith(prefix)) return "malformed";
  const signature = decode(value.slice(prefix.length), encoding, algorithm);
  return signature === undefined ? "malformed" : { timestamp: undefined, before: "", signatures: [signature] };
}

/** `t=1492774577,v1=5257…,v1=…,v0=…`: https://docs.stripe.com/webhooks/signature. */
function readStripe(value: string | undefined | null): Reading {
  if (value === undefined) return "missing";
  if (value === null) return "malformed";
  const items = value.split(",").map((item) => item.trim());
  const times = items.filter((item) => item.startsWith("t="));
  const time = times[0]?.slice("t=".length) ?? "";
  if (times.length !== 1) return "malformed";
  const signatures = items.filter((item) => item.startsWith("v1=")).map((item) => item.slice("v1=".length));
  return timed(time, `${time}.`, signatures, "hex");
}

/** `v0=a2114d…`: https://docs.slack.dev/authentication/verifying-requests-from-slack. */
function readSlack(rawHeaders: readonly string[]): Reading {
  const value = onlyValueOf(rawHeaders, "x-slack-signature");
  const time = onlyValueOf(rawHeaders, "x-slack-request-timestamp");
  if (value === undefined || time === undefined) return "missing";
  if (value === null || time === null || !value.startsWith("v0=")) return "malformed";
  return timed(time, `v0:${time}:`, [value.slice("v0=".length)], "hex");
}

/** `v1,K5oZ… v1,…`: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md. */
function readStandard(rawHeaders: readonly string[]): Reading {
  // Svix, which this specification comes from, sends the same under its own names.
  const family = onlyValueOf(rawHeaders, "webhook-signature") === undefined ? "svix" : "webhook";
  const value = onlyValueOf(rawHeaders, `${family}-signature`);
  const id = onlyValueOf(rawHeaders, `${family}-id`);
  const time = onlyValueOf(rawHeaders, `${family}-timestamp`);
  if (value === undefined || id === undefined || time === undefined) return "missing";
  // A dot ends the id in the signed text, so with one in it two ids could have one signature.
  if (value === null || !id || time === null || id.includes(".")) return "malformed";
  const signatures = value.split(" ").filter((item) => item.startsWith("v1,"));
  const texts = signatures.map((item) => item.slice("v1,".length));
  return timed(time, `${id}.${time}.`, texts, "base64");
}

function timed(time: string, before: string, texts: readonly string[], encoding: "hex" | "base64"): Reading {
  if (!TIME.test(time) || texts.length === 0 || texts.length > SIGNATURES_LIMIT) return "malformed";
  const signatures = texts.flatMap((text) => decode(text, encoding, "sha256") ?? []);
  return signatures.length === 0 ? "malformed" : { timestamp: Number(time), before, signatures };
}

const ALPHABETS = {
  hex: /^[0-9a-fA-F]+$/,
  base64: /^[A-Za-z0-9+/]+={0,2}$/,
  base64url: /^[A-Za-z0-9_-]+={0,2}$/,
} as const;

/** Undefined for a text that is no hash of this length. */
function decode(text: string, encoding: keyof typeof ALPHABETS, algorithm: Algorithm): Buffer | undefined {
  const length = DIGEST_BYTES[algorithm];
  if (text.length > 2 * length || !ALPHABETS[encoding].test(text)) return undefined;
  const bytes = Buffer.from(text, encoding);
  return bytes.length === length ? bytes : undefined;
}
