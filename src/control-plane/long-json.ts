/** An answer that has an entry for each service, or each key: written in turns, because there may be thousands. */
import type { Context, TypedResponse } from "hono";
import type { JSONParsed } from "hono/utils/types";
import { jsonInTurns, type Replace } from "../json-in-turns.ts";

type Long<T> = Response & TypedResponse<JSONParsed<T>, 200, "json">;

/** As `context.json(value, 200)`. */
export async function longJson<T extends object>(context: Context, value: T, replace?: Replace): Promise<Long<T>> {
  const text = await jsonInTurns(value, replace);
  return context.body(text, 200, { "Content-Type": "application/json" }) as unknown as Long<T>;
}
