// in the making

