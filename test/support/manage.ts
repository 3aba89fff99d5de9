/** Sends requests to `/manage` as an operator. */
import { MANAGEMENT_KEY, type TestGateway } from "./gateway.ts";

export interface Managed {
  readonly status: number;
  readonly headers: Headers;
  /** The JSON body. Undefined if there is none. */
  // biome-ignore lint/suspicious/noExplicitAny: each test asserts what it expects here.
  readonly body: any;
}

/** @param path after `/manage`. @param body sent as JSON. */
export async function manage(
  gateway: Pick<TestGateway, "url">,
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Managed> {
  const answer = await fetch(`${gateway.url}/manage${path}`, {
    method,
    headers: {
      "x-api-key": MANAGEMENT_KEY,
      ...(body === undefined ? {} : { "content-type": "application/json" }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
  const text = await answer.text();
  return { status: answer.status, headers: answer.headers, body: text === "" ? undefined : JSON.parse(text) };
}
