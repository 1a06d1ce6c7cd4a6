# How the test starts guidellm. SERVER, MODEL and FOLDER are replaced; the lines between the marks are shown in the docs.
# --8<-- [start:example]
guidellm run --backend kind=openai_http,target=SERVER,model=MODEL --tokenizer kind=hf_auto,model=FOLDER \
  --data kind=synthetic_text,prompt_tokens=32,output_tokens=8 --profile kind=concurrent,streams=2 \
  --constraint kind=max_requests,count=6 --output kind=json,path=report.json
# --8<-- [end:example]
