/** Compares real responses with `/openapi.json`. */
import { request } from "node:http";
import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { rawRequest } from "./raw-request.ts";

export interface Media {
  readonly schema?: object;
  readonly example?: unknown;
  readonly examples?: Readonly<Record<string, { readonly value: unknown }>>;
}

export interface DescribedAnswer {
  readonly $ref?: string;
  readonly headers?: Readonly<Record<string, { readonly required?: boolean }>>;
  readonly content?: Readonly<Record<string, Media>>;
}

export interface Operation {
  readonly operationId: string;
  readonly security: readonly object[];
  readonly tags: readonly string[];
  readonly requestBody?: { readonly content: Readonly<Record<string, Media>> };
  readonly responses: Readonly<Record<string, DescribedAnswer>>;
}

/** The parts of an OpenAPI document that are used here. */
export interface Document {
  readonly openapi: string;
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: {
    readonly responses: Readonly<Record<string, DescribedAnswer>>;
    // biome-ignore lint/suspicious/noExplicitAny: the assertions of each test say what it expects here.
    readonly schemas: Readonly<Record<string, any>>;
  };
}

export interface Observed {
  readonly status: number;
  readonly headers: Headers;
  readonly body: string;
}

export interface Contract {
  /** `GET /health` … */
  readonly operations: readonly string[];
  operation(name: string): Operation;
  /** The differences between a response to this operation and its documentation. */
  problemsOf(name: string, response: Observed): string[];
  /** The errors of a value by the schema of this media type. */
  problemsOfValue(media: Media, value: unknown): string[];
}

/** Equal documents share their contract, because compiling the schemas takes long. */
const contracts = new Map<string, Contract>();

export function contractOf(document: Document): Contract {
  const text = JSON.stringify(document);
  const contract = contracts.get(text) ?? createContract(document);
  contracts.set(text, contract);
  return contract;
}

function createContract(document: Document): Contract {
  // The document contains keywords of OpenAPI as well as those of JSON Schema.
  const ajv = new Ajv2020({ strict: false, allErrors: true });
  addFormats.default(ajv);
  ajv.addSchema(document, "document");
  const validators = new Map<Media, ValidateFunction>();
  const problemsOfValue = (media: Media, value: unknown) => {
    let validate = validators.get(media);
    if (validate === undefined) {
      validate = ajv.compile(JSON.parse(JSON.stringify(media.schema).replaceAll('"#/', '"document#/')));
      validators.set(media, validate);
    }
    return validate(value) ? [] : (validate.errors ?? []).map((error) => JSON.stringify(error));
  };
  const operation = (name: string) => {
    const [method = "", path = ""] = name.split(" ");
    const found = document.paths[path]?.[method.toLowerCase()];
    if (found === undefined) throw new Error(`${name} is not documented`);
    return found;
  };
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
  );

  function problemsOf(name: string, response: Observed): string[] {
    const isOwn = response.headers.has("x-proxy-error");
    const { responses } = operation(name);
    const named = responses[response.status];
    // A refusal has X-Proxy-Error; a response without it that the operation does not document is an upstream's.
    const found =
      isOwn || named?.$ref === undefined ? (named ?? (isOwn ? undefined : responses.default)) : responses.default;
    if (found === undefined) return [`${response.status} is not documented: ${response.body.slice(0, 300)}`];
    const described = found.$ref ? document.components.responses[found.$ref.split("/").at(-1) as string] : found;
    if (described === undefined) return [`${found.$ref} does not exist`];
    const required = Object.entries(described.headers ?? {}).filter(([, header]) => header.required);
    const missing = required
      .filter(([header]) => !response.headers.has(header))
      .map(([header]) => `${header} is missing`);
    return [...missing, ...problemsOfBody(name, described, response)];
  }

  function problemsOfBody(name: string, { content }: DescribedAnswer, { headers, body }: Observed): string[] {
    if (name.startsWith("HEAD ") || content === undefined) return body === "" ? [] : ["it has a body"];
    if (content["*/*"] !== undefined) return [];
    const type = headers.get("content-type")?.split(";")[0] ?? "none";
    const media = content[type];
    if (media?.schema === undefined) return [`the type ${type} is not documented`];
    const value = type === "application/json" ? JSON.parse(body) : body;
    const code = headers.get("x-proxy-error");
    if (code !== null && value.code !== code) return [`X-Proxy-Error is ${code}`];
    return problemsOfValue(media, value);
  }

  return { operations, operation, problemsOf, problemsOfValue };
}

export interface Asked {
  readonly method: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** Sends one request on a new connection, with any headers; a 101 counts as the response. */
export function ask(port: number, { method, path, headers = {}, body }: Asked): Promise<Observed> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: "127.0.0.1", port, method, path, headers: { ...headers }, agent: false });
    asked.on("error", reject);
    asked.on("upgrade", (response, socket) => {
      socket.destroy();
      resolve({ status: 101, headers: headersOf(response.rawHeaders), body: "" });
    });
    asked.on("response", (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        text += chunk;
        // The beginning of a stream that does not end by itself.
        if (response.headers["content-type"] === "text/event-stream") response.destroy();
      });
      response.on("close", () => {
        if (!response.complete)
          resolve({ status: response.statusCode ?? 0, headers: headersOf(response.rawHeaders), body: text });
      });
      response.on("end", () =>
        resolve({ status: response.statusCode ?? 0, headers: headersOf(response.rawHeaders), body: text }),
      );
      response.on("error", reject);
    });
    asked.end(body);
  });
}

/** The response to bytes that no client would send. */
export async function askRaw(port: number, bytes: string): Promise<Observed> {
  const { status, head, body } = await rawRequest(port, bytes);
  const lines = head.split("\r\n").slice(1);
  return { status, headers: headersOf(lines.flatMap((line) => line.split(/: (.*)/, 2))), body };
}

function headersOf(flat: readonly string[]): Headers {
  const headers = new Headers();
  for (let i = 0; i < flat.length; i += 2) headers.append(flat[i] as string, flat[i + 1] as string);
  return headers;
}
