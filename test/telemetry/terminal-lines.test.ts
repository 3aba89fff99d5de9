/** The log on a terminal: what a person reads. */
import { describe, expect, test } from "vitest";
import { type Paint, paintFor } from "../../src/colors.ts";
import { exchangeLine, readExchange, type ShownExchange } from "../../src/telemetry/terminal-lines.ts";

const PLAIN: Paint = (_, text) => text;
const EXCHANGE: ShownExchange = {
  time: new Date(2026, 10, 29, 18, 47, 2).getTime(),
  service: "github",
  method: "GET",
  path: "/proxy/github/users/octocat?x=***",
  status: 200,
  durationUs: 12_345,
  outcome: "relayed",
};
const line = (change: Partial<ShownExchange>) => exchangeLine({ ...EXCHANGE, ...change }, PLAIN);

describe("a line for each exchange", () => {
  test("A line shows time, status, method, service, path without its prefix, and duration", () => {
    expect(line({})).toMatch(/^18:47:02 {2}200 {2}GET {6}github {8}\/users\/octocat\?x=\*\*\* +12 ms$/);
  });

  test("Lines of different exchanges are aligned", () => {
    const columns = [
      line({}),
      line({ method: "OPTIONS", service: "openai", path: "/proxy/openai/v1", durationUs: 900 }),
    ];
    expect(new Set(columns.map((each) => each.indexOf(" ms"))).size).toBe(1);
    expect(new Set(columns.map((each) => each.search(/\/(?:users|v1)/))).size).toBe(1);
  });

  test("A refusal and a failure end with their code, and a client that left is named", () => {
    expect(line({ status: 401, outcome: "refused:INVALID_API_KEY" })).toMatch(/ms {2}INVALID_API_KEY$/);
    expect(line({ status: 502, outcome: "failed:UPSTREAM_UNREACHABLE" })).toMatch(/ms {2}UPSTREAM_UNREACHABLE$/);
    expect(line({ status: 499, outcome: "client-left" })).toMatch(/ms {2}client-left$/);
  });

  test("A path without a service is shown whole, and a service that another one's name begins with keeps its path", () => {
    expect(line({ service: "", path: "/proxy/nope/x" })).toMatch(/ - +\/proxy\/nope\/x /);
    expect(line({ service: "github", path: "/proxy/github" })).toMatch(/ github +\/ /);
    expect(line({ service: "github", path: "/proxy/github?x=***" })).toMatch(/ github +\/\?x=\*\*\* /);
  });

  test("A path cannot move the cursor or change the terminal", () => {
    expect(line({ path: "/proxy/github/\x1b[2J\x9b31m\r\nfake" })).not.toMatch(/[\x00-\x1f\x7f-\x9f]/);
  });

  test.each([
    [200, "32"],
    [302, "36"],
    [404, "33"],
    [502, "31"],
  ])("The status %d has the color %s", (status, color) => {
    const paint = paintFor({ isTTY: true, hasColors: () => true }, []);
    expect(exchangeLine({ ...EXCHANGE, status }, paint)).toContain(`\x1b[${color}m${status}\x1b[39m`);
  });
});

test("Only an access line is an exchange: a message that ends alike is not", () => {
  expect(readExchange('{"level":30,"time":1,"msg":"a request"}')).toBeUndefined();
  expect(readExchange('{"level":30,"time":1,"status":200,"msg":"request"}')).toMatchObject({ status: 200 });
});

test("There are no colors without a terminal, with NO_COLOR, and with --no-color", () => {
  const terminal = { isTTY: true, hasColors: () => true };
  expect(paintFor(terminal, [])("red", "x")).toBe("\x1b[31mx\x1b[39m");
  for (const paint of [
    paintFor({ isTTY: false, hasColors: () => true }, []),
    paintFor({}, []),
    paintFor({ isTTY: true, hasColors: () => false }, []),
    paintFor(terminal, ["node", "byteproxy", "start", "--no-color"]),
  ]) {
    expect(paint("red", "x")).toBe("x");
  }
});
