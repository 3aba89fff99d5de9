import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseText } from "../../src/config/document.ts";
import { addServiceToText } from "../../src/config/edit-services-file.ts";

const SERVICE = { baseUrl: "https://api.example.com/", headers: { Accept: "a/b" } };

function added(text: string | undefined): string {
  const edited = addServiceToText(text, "new", SERVICE);
  if ("problems" in edited) throw new Error(edited.problems.join("\n"));
  return edited.text;
}

const servicesOf = (text: string) => (parseText(text).data as { services: Record<string, unknown> }).services;

describe("A JSON services file", () => {
  test("A service is added to a file that does not exist, is empty, has one line or has no services", () => {
    for (const text of [undefined, "", " \n", "{}", '{ "services": {} }', '{\n  "$schema": "./s.json"\n}\n']) {
      expect([text, servicesOf(added(text))]).toEqual([text, { new: SERVICE }]);
    }
    expect(added('{ "$schema": "./s.json", "services": {} }\n')).toBe(
      `${JSON.stringify({ $schema: "./s.json", services: { new: SERVICE } }, null, 2)}\n`,
    );
  });

  test("All other bytes of the file stay, and the new service has the indentation of the others", () => {
    const before = '{\n\t"services": {\n\t\t"a": { "baseUrl":   "https://a.example/", "x": "}\\"{" }\n\t}\n}';
    expect(added(before)).toBe(
      '{\n\t"services": {\n\t\t"a": { "baseUrl":   "https://a.example/", "x": "}\\"{" },\n\t\t"new": {\n' +
        '\t\t\t"baseUrl": "https://api.example.com/",\n\t\t\t"headers": {\n\t\t\t\t"Accept": "a/b"\n\t\t\t}\n\t\t}\n\t}\n}',
    );
  });

  test("The meaning of any JSON file stays the same, in any layout", () => {
    const services = fc.dictionary(fc.stringMatching(/^[a-m]{1,5}$/), fc.jsonValue(), { maxKeys: 4 });
    fc.assert(
      fc.property(services, fc.constantFrom(undefined, 1, 2, "\t"), fc.boolean(), (others, indent, isFirst) => {
        const file = isFirst ? { services: others, z: ["{"] } : { z: "}", services: others };
        const text = JSON.stringify(file, null, indent);
        // JSON has no -0.
        const { services: kept, ...rest } = JSON.parse(text) as typeof file;
        // The reader refuses names that JSON.parse would treat in another way than YAML.
        fc.pre(parseText(text).problems.length === 0);
        expect(parseText(added(text)).data).toEqual({ ...rest, services: { ...kept, new: SERVICE } });
      }),
    );
  });
});

describe("A YAML services file", () => {
  test("Comments and the order of services stay", () => {
    const text =
      "# mine\nservices:\n  # the first\n  b: { baseUrl: https://b.example/ } # inline\n  a:\n    baseUrl: https://a.example/\n";
    const edited = added(text);
    for (const part of ["# mine", "# the first", "# inline"]) expect(edited).toContain(part);
    expect(Object.keys(servicesOf(edited))).toEqual(["b", "a", "new"]);
  });

  test("A service is added to a file without services", () => {
    for (const text of ["# nothing yet\n", "services:\n", "services: {}\n", "$schema: ./s.json\n"]) {
      const edited = added(text);
      expect([text, servicesOf(edited)]).toEqual([text, { new: SERVICE }]);
      if (text.startsWith("#")) expect(edited).toContain("# nothing yet");
    }
  });
});

test("A file that is not valid, or has the service, is refused with the position", () => {
  const problems = (text: string) => addServiceToText(text, "new", SERVICE);
  expect(problems('{\n  "services": {\n    "new": {}\n  }\n}')).toEqual({
    problems: ["3:5 services.new: this service exists already; change it there"],
  });
  expect(problems("services:\n  new: {}\n")).toEqual({
    problems: ["2:3 services.new: this service exists already; change it there"],
  });
  expect(problems('{ "services": ')).toEqual({
    problems: [expect.stringMatching(/^1:\d+: found .*, allowed: JSON or YAML$/)],
  });
  for (const text of ["[]", '{ "services": [] }', "services: 3\n", "text"]) {
    expect(problems(text)).toEqual({ problems: ["1:1: found no object with services, allowed: a services file"] });
  }
});
