/**
 * What would happen to a request, step by step: for whoever was refused and wants to know why.
 * Invariant: nothing is sent, spent or reserved, and the answer holds no secret.
 */
import { validateHeaderName, validateHeaderValue } from "node:http";
import type { Hono } from "hono";
import { GatewayError } from "../../errors.ts";
import { isProxied } from "../../perimeter/client-request.ts";
import type { RequestToExplain } from "../../registry/explanation.ts";
import { maskTexts } from "../mask-texts.ts";
import type { ControlPlaneParts } from "../parts.ts";
import type { CallerEnv } from "../require-caller.ts";
import { readJson } from "./read-json.ts";

type Header = readonly [name: string, value: string];

export function addExplainRoute(routes: Hono<CallerEnv>, parts: ControlPlaneParts): void {
  routes.post("/explain", async (context) => {
    const { incoming } = context.env;
    const asked = readRequest(await readJson(context));
    // Every request has a Host; whoever asks knows the gateway by one.
    const hasHost = asked.headers.some(([name]) => name.toLowerCase() === "host");
    const { host } = incoming.headers;
    const explanation = await parts.explain({
      ...asked,
      headers: hasHost || host === undefined ? asked.headers : [["Host", host], ...asked.headers],
      address: parts.clients.addressOf(incoming),
    });
    context.header("Cache-Control", "no-store");
    // A path may hold a key, percent-encoded or not, and it stands in several places of the answer.
    return context.json(maskTexts(explanation, parts.mask));
  });
}

/** @throws GatewayError VALIDATION_ERROR */
function readRequest(body: unknown): Omit<RequestToExplain, "address"> {
  const isObject = typeof body === "object" && body !== null && !Array.isArray(body);
  const {
    method,
    path,
    headers = {},
    caller,
    ...others
  }: Readonly<Record<string, unknown>> = isObject ? { ...body } : {};
  const details: Record<string, string[]> = {};
  if (!isMethod(method)) details.method = ["allowed: the name of a method, such as GET"];
  if (!isTarget(path)) details.path = ["allowed: a path that begins with /proxy/<service>, and its query"];
  if (caller !== undefined && typeof caller !== "string") details.caller = ["allowed: the id of a caller"];
  const read = readHeaders(headers);
  if (read === undefined) details.headers = ["allowed: an object of header names and values, or lists of values"];
  for (const name of Object.keys(others)) {
    details[name.slice(0, 64)] = ["unknown, allowed: method, path, headers, caller"];
  }
  if (Object.keys(details).length === 0) {
    return {
      method: method as string,
      target: path as string,
      headers: read ?? [],
      callerId: caller as string | undefined,
    };
  }
  throw new GatewayError("VALIDATION_ERROR", {
    message: "The body is not of the form {method, path, headers, caller}.",
    extra: { details },
  });
}

const isMethod = (value: unknown) => typeof value === "string" && /^[A-Z-]{1,32}$/.test(value);

/** Whatever a client could put into a request line, also what is refused then. */
const isTarget = (value: unknown) =>
  typeof value === "string" && /^[\x21-\x7e\x80-\xff]+$/.test(value) && isProxied(value);

function readHeaders(headers: unknown): readonly Header[] | undefined {
  if (typeof headers !== "object" || headers === null || Array.isArray(headers)) return undefined;
  const read = Object.entries(headers).flatMap(([name, value]) => [value].flat().map((each) => [name, each] as Header));
  return read.every(isHeader) ? read : undefined;
}

function isHeader([name, value]: Header): boolean {
  try {
    validateHeaderName(name);
    validateHeaderValue(name, value);
    return typeof value === "string";
  } catch {
    return false;
  }
}
