/** A gRPC server for tests. Its messages are UTF-8 texts, so that no schema is needed. */
import {
  type Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
} from "@grpc/grpc-js";
import { onTestFinished } from "vitest";

const method = (name: string, requestStream: boolean, responseStream: boolean) => ({
  path: `/test.Texts/${name}`,
  requestStream,
  responseStream,
  requestSerialize: (text: string) => Buffer.from(text),
  requestDeserialize: (bytes: Buffer) => bytes.toString(),
  responseSerialize: (text: string) => Buffer.from(text),
  responseDeserialize: (bytes: Buffer) => bytes.toString(),
});

export const TEXTS = {
  unary: method("Unary", false, false),
  split: method("Split", false, true),
  join: method("Join", true, false),
  chat: method("Chat", true, true),
} as const;

export interface GrpcUpstream {
  readonly url: string;
  /** Metadata of all calls, newest last. */
  readonly calls: Metadata[];
  /** The deadline of the last unary call. */
  deadline(): Date | number | undefined;
  /** Calls that their client has canceled. */
  readonly canceled: string[];
  /** Ends all connections at once. */
  stop(): void;
}

/** `fail <code>` fails, `wait` never responds, other texts come back in upper case. @param port of a server that was stopped. */
export async function startGrpcUpstream(port = 0, options: Record<string, number> = {}): Promise<GrpcUpstream> {
  const server = new Server(options);
  const calls: Metadata[] = [];
  const canceled: string[] = [];
  let deadline: Date | number | undefined;
  server.addService(TEXTS, {
    unary(call: ServerUnaryCall<string, string>, respond: sendUnaryData<string>) {
      calls.push(call.metadata);
      const { request: text } = call;
      deadline = call.getDeadline();
      call.on("cancelled", () => canceled.push(text));
      if (text === "wait") return;
      const code = /^fail (\d+)$/.exec(text)?.[1];
      if (code !== undefined) return respond({ code: Number(code), details: `bad: ${text}` });
      respond(null, text.toUpperCase());
    },
    split(call: ServerWritableStream<string, string>) {
      calls.push(call.metadata);
      call.on("cancelled", () => canceled.push(call.request));
      for (const word of call.request.split(" ")) call.write(word);
      if (!call.request.startsWith("endless")) call.end();
    },
    join(call: ServerReadableStream<string, string>, respond: sendUnaryData<string>) {
      calls.push(call.metadata);
      const words: string[] = [];
      call.on("data", (word: string) => words.push(word));
      call.on("end", () => respond(null, words.join(" ")));
    },
    chat(call: ServerDuplexStream<string, string>) {
      calls.push(call.metadata);
      call.on("data", (text: string) => call.write(`re: ${text}`));
      call.on("end", () => call.end());
    },
  });
  const bound = await new Promise<number>((resolve, reject) =>
    server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (error, at) =>
      error === null ? resolve(at) : reject(error),
    ),
  );
  const stop = () => server.forceShutdown();
  onTestFinished(stop);
  return { url: `http://127.0.0.1:${bound}`, calls, canceled, deadline: () => deadline, stop };
}
