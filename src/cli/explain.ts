/**
 * `byteproxy explain METHOD PATH`: what a running gateway would do with a request, from POST /manage/explain.
 * Invariant: nothing is sent to an upstream. The response contains no secret, and the headers of the command line are not repeated.
 */
import { type Command, InvalidArgumentError } from "commander";
import { type Paint, paintFor } from "../colors.ts";
import type { Explanation } from "../data-plane/dry-run/explanation.ts";
import { CliFailure, nextStep } from "./cli-failure.ts";
import { ABOUT_THE_GATEWAY, type CommonOptions, withGateway } from "./options.ts";
import { oneLine, printJson, printLines } from "./output.ts";

export function addExplainCommand(program: Command): void {
  withGateway(program.command("explain"))
    .description("explain what the gateway would do with a request, step by step; nothing is sent")
    .argument("<method>", "the request's method, like GET")
    .argument("<path>", "its path and query, beginning with /proxy/<service>/")
    .option("--client-cert <fingerprint|name>", "assume this client certificate, as in a key")
    .option("--caller <id>", "assume this caller instead of a key: proxy-key, or the id of an issued key")
    .option(
      "--header <name:value>",
      "a header of the request, like 'Accept: text/plain'; may be repeated",
      collectHeader,
    )
    .addHelpText("after", `${EXAMPLES}\n${ABOUT_THE_GATEWAY}`)
    .action(explain);
}

const EXAMPLES = `
The exit code is 0, also for a request that would be refused. A key in --header is visible in the list of processes:
use --caller instead.

Examples:
  byteproxy explain GET /proxy/github/user --caller proxy-key
  byteproxy explain POST /proxy/openai/chat/completions --header 'Content-Type: application/json'`;

type Headers = Readonly<Record<string, readonly string[]>>;

/** @throws InvalidArgumentError, without the value: it may be a secret. */
function collectHeader(text: string, before: Headers = {}): Headers {
  const [, name = "", value = ""] = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*)$/s.exec(text) ?? [];
  if (name === "") throw new InvalidArgumentError("Allowed: a name, a colon and a value, like 'Accept: text/plain'.");
  return { ...before, [name]: [...(before[name] ?? []), value] };
}

interface ExplainOptions extends CommonOptions {
  readonly caller?: string;
  readonly clientCert?: string;
  readonly header?: Headers;
}

const MEMBERS = ["verdict", "request", "steps"] as const;

async function explain(method: string, path: string, options: ExplainOptions): Promise<void> {
  const { url, json, caller, clientCert, header } = options;
  const { openGatewayClient } = await import("./gateway-client.ts");
  const body = {
    method: method.toUpperCase(),
    path,
    ...(caller === undefined ? {} : { caller }),
    ...(clientCert === undefined ? {} : { clientCert }),
    ...(header === undefined ? {} : { headers: header }),
  };
  const explanation = await openGatewayClient(url)
    .ask<Explanation>("POST", "/manage/explain", { body, members: MEMBERS })
    .catch((error: unknown) => {
      throw inWordsOfOptions(error);
    });
  if (json) return printJson(explanation);
  printLines(describeExplanation(explanation, paintFor(process.stdout)));
}

/** The gateway's message names the form of the body, which the user did not type. */
function inWordsOfOptions(error: unknown): unknown {
  if (!(error instanceof CliFailure) || error.exitCode !== 2 || error.responseBody === undefined) return error;
  return new CliFailure(2, ["The request cannot be explained.", ...error.lines.slice(1)], error.responseBody);
}

function describeExplanation(explanation: Explanation, paint: Paint): string[] {
  return [
    describeOutcome(explanation, paint),
    "",
    ...describeSteps(explanation, paint),
    ...describeRefusal(explanation, paint),
    ...describeUpstream(explanation, paint),
    ...describeConditions(explanation, paint),
  ];
}

function describeOutcome({ verdict, refusal, request, service }: Explanation, paint: Paint): string {
  const who = request.caller === null ? "without a known caller" : `by the caller ${oneLine(request.caller)}`;
  const asked = `${paint("bold", oneLine(`${request.method} ${request.path}`))} ${who}`;
  if (refusal !== null) return `${asked}: ${paint("red", `refused with ${refusal.status} ${refusal.code}`)}`;
  if (verdict === "preflight") return `${asked}: ${paint("green", "answered by the gateway with 204")} (a preflight)`;
  return `${asked}: ${paint("green", `forwarded to ${oneLine(service ?? "the upstream")}`)}`;
}

function describeSteps({ steps }: Explanation, paint: Paint): string[] {
  const width = Math.max(...steps.map(({ step }) => step.length));
  return steps.map(({ step, verdict, reached, refusal }) => {
    const name = oneLine(step.padEnd(width));
    const outcome = verdict === "pass" ? "pass" : `refuse  ${refusal?.code}`;
    if (!reached) return paint("dim", `  ${name}  ${outcome}  (not reached)`);
    return `  ${name}  ${paint(verdict === "pass" ? "green" : "red", outcome)}`;
  });
}

function describeRefusal({ refusal, keyPlaces, request }: Explanation, paint: Paint): string[] {
  if (refusal === null) return [];
  const places = request.caller === null && keyPlaces !== null ? [`  key:  ${keyPlaces.map(oneLine).join(", ")}`] : [];
  return [
    "",
    paint("red", oneLine(refusal.message)),
    `  ${paint("bold", "fix:")}  ${oneLine(String(nextStep(refusal.code, refusal.hint)))}`,
    ...places,
  ];
}

const TRANSPORTS = { http: "", http2: " (HTTP/2)", websocket: " (WebSocket)" } as const;

function describeUpstream({ upstream, verdict }: Explanation, paint: Paint): string[] {
  if (upstream === null) return [];
  const { method, url, transport, headers, proxy, timeoutMs, retries } = upstream;
  const line = (mark: string, { name, value }: { readonly name: string; readonly value: string }) =>
    oneLine(`  ${mark} ${name}: ${value}`);
  return [
    "",
    verdict === "forward" ? "The gateway would send:" : "Without the refusal, the gateway would send:",
    `    ${paint("bold", oneLine(`${method} ${url}`))}${TRANSPORTS[transport]}`,
    ...(proxy === null ? [] : [oneLine(`    through the egress proxy ${proxy}`)]),
    ...headers.kept.map((header) => line(" ", header)),
    ...headers.added.map((header) => paint("green", line("+", header))),
    ...headers.removed.map((name) => paint("red", oneLine(`  - ${name}`))),
    paint("dim", `    + added, - removed; within ${timeoutMs} ms, with up to ${retries} retries`),
  ];
}

/** The state on which the outcome depends. */
function describeConditions(explanation: Explanation, paint: Paint): string[] {
  const { credential, rateLimit, budgets, models, breaker, cache, idempotency, quota } = explanation;
  const facts: [string, string][] = [];
  if (credential !== null && credential.state !== "none") {
    const { state, type, place, source, fingerprint } = credential;
    const mark = fingerprint === null ? "" : `, fingerprint ${fingerprint}`;
    facts.push(["credential", `${state}: ${type} from ${source}, in ${place ?? "no place"}${mark}`]);
  }
  if (rateLimit !== null) {
    const { per, limit, remaining, resetIn, waitMs = 0, position = 0 } = rateLimit;
    const wait = position === 0 ? "" : `; would wait ${(waitMs / 1_000).toFixed(1)} s at position ${position}`;
    facts.push(["rate limit", `${remaining} of ${limit} left per ${per}, reset in ${resetIn} s${wait}`]);
  }
  for (const { of, tokens, per, remaining, resetIn } of budgets) {
    facts.push(["budget", `${remaining} of ${tokens} tokens left per ${per} of the ${of}, reset in ${resetIn} s`]);
  }
  if (models !== null) facts.push(["models", `${models.join(", ")}; the body decides`]);
  if (breaker !== null) facts.push(["breaker", breaker.state]);
  if (cache !== null) facts.push(["cache", cache.age === null ? cache.state : `${cache.state}, ${cache.age} s old`]);
  if (idempotency !== null && idempotency.state !== "off") facts.push(["idempotency", idempotency.state]);
  if (quota !== null) facts.push(["quota", `${quota.bucket || "one bucket"}, held for ${quota.waitMs} ms`]);
  if (facts.length === 0) return [];
  return ["", ...facts.map(([name, text]) => `${paint("dim", name.padEnd(10))}  ${oneLine(text)}`)];
}
