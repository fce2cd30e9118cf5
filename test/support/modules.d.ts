declare module 'jasmine-core/lib/jasmine-core/jasmine.js' {
  // biome-ignore lint/suspicious/noExplicitAny: it has no types
  const jasmineRequire: any;
  export default jasmineRequire;
}
