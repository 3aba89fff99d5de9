/**
 * The JSON body of a change.
 * Invariant: only what says that it is JSON is read, because a web page can send anything else without being asked; and never
 * more than a bound, nor for longer than one.
 */
import type { IncomingMessage } from "node:http";
import type { Context, MiddlewareHandler } from "hono";
import { GatewayError } from "../../errors.ts";
import type { CallerEnv } from "../require-caller.ts";

/** The largest service there is, many times over. */
const BODY_BYTES_LIMIT = 256 * 1024;

/** ms for the whole of it. */
const BODY_TIMEOUT_MS = 30_000;

/** No configuration is nested as deep as this. */
const DEEPEST = 32;

const JSON_TYPE = /^application\/(?:merge-patch\+)?json(?:\s*;.*)?$/i;

/** Refuses bodies of other types, for every route: also where none is wanted. */
export function requireJson(): MiddlewareHandler<CallerEnv> {
  return async (context, next) => {
    const { headers } = context.env.incoming;
    const hasBody = headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
    const isEncoded = (headers["content-encoding"] ?? "identity").toLowerCase() !== "identity";
    if (hasBody && (isEncoded || !JSON_TYPE.test(headers["content-type"] ?? ""))) {
      throw new GatewayError("UNSUPPORTED_MEDIA_TYPE", {
        headers: ["Accept", "application/json", "Connection", "close"],
      });
    }
    await next();
  };
}

/** @throws GatewayError VALIDATION_ERROR, PAYLOAD_TOO_LARGE, REQUEST_TIMEOUT, or INVALID_API_KEY. @param withinMs for the whole body. */
export async function readJson(
  context: Pick<Context<CallerEnv>, "env" | "get">,
  withinMs = BODY_TIMEOUT_MS,
): Promise<unknown> {
  const { incoming, outgoing } = context.env;
  // Only now: whoever was refused before has not sent the body yet, and need not.
  if (incoming.headers.expect !== undefined && incoming.httpVersionMinor > 0) outgoing.writeContinue();
  const text = await readText(incoming, withinMs);
  // Whoever was admitted may take long over the body: a key that was revoked meanwhile leaves no heir.
  if (context.get("caller").issued?.isOver) {
    throw new GatewayError("INVALID_API_KEY", {
      message: "The key ended, or may do less, since the request began.",
      headers: ["WWW-Authenticate", "Bearer"],
    });
  }
  if (isTooDeep(text)) throw invalidBody(`nested more than ${DEEPEST} deep`);
  try {
    return JSON.parse(text, refusePrototype);
  } catch (error) {
    if (error instanceof GatewayError) throw error;
    throw invalidBody(text.trim() === "" ? "nothing" : "text that is not JSON");
  }
}

function invalidBody(found: string): GatewayError {
  return new GatewayError("VALIDATION_ERROR", {
    message: `The body is not valid: found ${found}, allowed: one JSON value.`,
    extra: { details: { body: [`found ${found}, allowed: one JSON value`] } },
  });
}

/** A member of this name would be left out without a word by whatever copies the object. */
function refusePrototype(name: string, value: unknown): unknown {
  if (name === "__proto__") throw invalidBody('a member "__proto__"');
  return value;
}

async function readText(req: IncomingMessage, withinMs: number): Promise<string> {
  const tooLarge = () =>
    new GatewayError("PAYLOAD_TOO_LARGE", {
      message: `A body of more than ${BODY_BYTES_LIMIT} bytes is not read here.`,
      hint: "Send a smaller body.",
      headers: ["Connection", "close"],
    });
  if (Number(req.headers["content-length"] ?? 0) > BODY_BYTES_LIMIT) throw tooLarge();
  let timer: NodeJS.Timeout | undefined;
  const chunks: Buffer[] = [];
  let length = 0;
  const whole = new Promise<void>((resolve, reject) => {
    timer = setTimeout(() => {
      reject(new GatewayError("REQUEST_TIMEOUT", { headers: ["Connection", "close"] }));
    }, withinMs);
    req.on("data", (chunk: Buffer) => {
      length += chunk.length;
      if (length > BODY_BYTES_LIMIT) reject(tooLarge());
      else chunks.push(chunk);
    });
    req.once("end", resolve);
    // The client left, or sent what is no body: no fault of the gateway's, and nobody is left to be answered.
    for (const event of ["error", "close"]) req.once(event, () => reject(new GatewayError("INVALID_REQUEST")));
  });
  try {
    await whole;
  } finally {
    clearTimeout(timer);
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(chunks));
  } catch {
    throw invalidBody("text that is not UTF-8");
  }
}

/** Asked first: what walks over the value recurses. Character by character, so that no text takes longer than it is long. */
function isTooDeep(text: string): boolean {
  let depth = 0;
  let isInString = false;
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (isInString) {
      if (character === "\\") i += 1;
      else if (character === '"') isInString = false;
    } else if (character === '"') isInString = true;
    else if (character === "[" || character === "{") depth += 1;
    else if (character === "]" || character === "}") depth -= 1;
    if (depth > DEEPEST) return true;
  }
  return false;
}
