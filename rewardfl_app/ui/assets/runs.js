watch("value", () => {});
