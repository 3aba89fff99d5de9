/**
 * The `ws` member of a service: whether it allows WebSockets, and which messages of the client receive the credential.
 * Invariant: every form of `inject` means one rule, and two definitions with the same rule compare as equal.
 */
import { z } from "zod";
import { entriesOf } from "./auth-entries.ts";
import type { AuthDefinition } from "./auth-schema.ts";
import { checkCustomPlaces } from "./check-custom-auth.ts";

/** A message of 64 KiB has no deeper member that matters. */
const SEGMENTS_LIMIT = 16;

const memberPath = z
  .string()
  .max(256)
  .regex(/^[^.\x00-\x1f\x7f]+(?:\.[^.\x00-\x1f\x7f]+)*$/, "names of members and indexes of lists, joined by dots")
  .refine((path) => path.split(".").length <= SEGMENTS_LIMIT, `at most ${SEGMENTS_LIMIT} names`)
  .meta({ allowed: "names of members and indexes of lists, joined by dots: `d.token`" });

const scalar = z.union([z.string().max(256), z.number(), z.boolean()]);

/** https://docs.discord.com/developers/events/gateway-events: Identify (2) and Resume (6). */
const DISCORD_IDENTIFY = { match: { op: [2, 6] }, path: "d.token" };

const rule = z.strictObject({
  match: z
    .record(memberPath, z.union([scalar, z.array(scalar).min(1).max(64)]))
    .refine((members) => Object.keys(members).length <= SEGMENTS_LIMIT, `at most ${SEGMENTS_LIMIT} members`)
    .default({})
    .describe("members that a message must have, each with this value or one of these values"),
  path: memberPath.describe("the member that receives the secret, such as `d.token`"),
});

export const wsSchema = z.union([
  z.boolean(),
  z.strictObject({
    inject: z
      .union([z.literal("discord-identify"), rule])
      .describe(
        'puts the secret into messages of the client: `discord-identify`, or `{ "match": { "op": [2, 6] }, "path": "d.token" }`',
      ),
  }),
]);

export type WsDefinition = z.output<typeof wsSchema>;

type Scalar = z.output<typeof scalar>;

/** Which messages of a client receive a secret, and in which member. */
export interface MessageRule {
  /** Paths and the values that they may have, sorted by path. */
  readonly match: readonly (readonly [path: string, values: readonly Scalar[]])[];
  readonly path: string;
}

/** Undefined where messages pass untouched. */
export function messageRuleOf(ws: WsDefinition): MessageRule | undefined {
  if (typeof ws === "boolean") return undefined;
  const { match, path } = ws.inject === "discord-identify" ? DISCORD_IDENTIFY : ws.inject;
  const sorted = Object.entries(match).sort(([a], [b]) => (a < b ? -1 : 1));
  return { match: sorted.map(([member, values]) => [member, [values].flat()] as const), path };
}

/** For operators: `d.token where op is 2 or 6`. */
export function describeMessageRule({ match, path }: MessageRule): string {
  const conditions = match.map(
    ([member, values]) => `${member} is ${values.map((v) => JSON.stringify(v)).join(" or ")}`,
  );
  return conditions.length === 0 ? path : `${path} where ${conditions.join(" and ")}`;
}

interface WithMessages {
  readonly auth?: AuthDefinition | undefined;
  readonly ws: WsDefinition;
}

/** A message is a place of the credential, so it needs one, and a credential may have no other place. */
export function checkMessages({ auth, ws }: WithMessages, refinement: z.RefinementCtx): void {
  const hasMessages = typeof ws !== "boolean";
  if (hasMessages && auth === undefined) {
    refinement.addIssue({ code: "custom", path: ["ws", "inject"], message: "inject only with auth" });
  }
  for (const entry of auth === undefined || hasMessages ? [] : entriesOf(auth)) {
    if (entry.auth.type === "custom") checkCustomPlaces(entry.auth, entry.path, refinement);
  }
}
