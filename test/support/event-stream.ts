/** Reads Server-Sent Events from a real socket, and can stop reading. */
import { type IncomingMessage, request } from "node:http";
import { onTestFinished } from "vitest";
import { eventually } from "./eventually.ts";

export interface ReceivedEvent {
  readonly event: string;
  // biome-ignore lint/suspicious/noExplicitAny: the assertions of each test say what it expects here.
  readonly data: any;
}

export interface EventStream {
  readonly response: IncomingMessage;
  /** All bytes so far. */
  text(): string;
  events(): readonly ReceivedEvent[];
  /** The first event of a kind that passes the test; waits for it. */
  next(event: string, isWanted?: (data: ReceivedEvent["data"]) => boolean): Promise<ReceivedEvent["data"]>;
  /** Resolves when the stream has ended, in any way. */
  readonly ended: Promise<void>;
  close(): void;
}

/** @param url of the gateway. @param query with `?`. */
export async function followEvents(url: string, key: string | undefined, query = ""): Promise<EventStream> {
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const headers = key === undefined ? {} : { "x-api-key": key };
    const asked = request(`${url}/manage/events${query}`, { headers, agent: false });
    asked.on("error", reject);
    asked.on("response", resolve);
    asked.end();
  });
  let text = "";
  response.setEncoding("utf8");
  response.on("data", (chunk: string) => {
    text += chunk;
  });
  response.on("error", () => {});
  const ended = new Promise<void>((resolve) => response.on("close", () => resolve()));
  onTestFinished(() => void response.destroy());
  const events = () => parseEvents(text);
  return {
    response,
    text: () => text,
    events,
    next: async (event, isWanted = () => true) => {
      const found = await eventually(
        () => events().find((each) => each.event === event && isWanted(each.data)),
        `an event ${event}`,
      );
      return found.data;
    },
    ended,
    close: () => void response.destroy(),
  };
}

/** The complete events of a stream, read as the HTML standard says; comments are left out. */
export function parseEvents(text: string): ReceivedEvent[] {
  const blocks = text.split(/\r\n\r\n|\n\n|\r\r/).slice(0, -1);
  return blocks.flatMap((block) => {
    const fields = block.split(/\r\n|\n|\r/).filter((line) => !line.startsWith(":"));
    if (fields.length === 0) return [];
    const of = (name: string) =>
      fields.filter((line) => line.startsWith(`${name}:`)).map((line) => line.slice(name.length + 1).replace(/^ /, ""));
    return [{ event: of("event").at(-1) ?? "message", data: JSON.parse(of("data").join("\n")) }];
  });
}
