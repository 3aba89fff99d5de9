/** Reads Server-Sent Events, as the gateway writes them: each has a name and one JSON object. */
import type { IncomingMessage } from "node:http";
import { isObject } from "../is-object.ts";

export interface ServerEvent {
  readonly name: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** No event of the gateway is longer: a stream that has no end of a line is not its. */
const LONGEST_LINE = 16 * 1024 * 1024;

/** Ends with the stream. What is no event with JSON is left out. @throws the error of the connection. */
export async function* readEvents(response: IncomingMessage): AsyncGenerator<ServerEvent> {
  response.setEncoding("utf8");
  let rest = "";
  let name = "";
  let data = "";
  for await (const chunk of response) {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    if (rest.length > LONGEST_LINE) throw new Error("a line of the stream is too long");
    for (const line of lines.map((each) => each.replace(/\r$/, ""))) {
      if (line.startsWith("event: ")) name = line.slice("event: ".length);
      else if (line.startsWith("data: ")) data += line.slice("data: ".length);
      if (line !== "") continue;
      const event = parse(name, data);
      name = "";
      data = "";
      if (event !== undefined) yield event;
    }
  }
}

function parse(name: string, data: string): ServerEvent | undefined {
  try {
    const value: unknown = JSON.parse(data);
    return isObject(value) ? { name, data: value } : undefined;
  } catch {
    return undefined;
  }
}
