// The test setup finds an installed Chrome or downloads one itself (scripts/browser.ts);
// installing the package must not need the network for it.
module.exports = { skipDownload: true };
